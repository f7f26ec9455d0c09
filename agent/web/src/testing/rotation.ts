// A Cognito that rotates refresh tokens, and storages that hear of each other late.

import { FakeStorage, jwt, tellStored } from './fakes';
import type { Call } from './tabs';

const GRACE_MS = 60_000;

/**
 * One sign-in at a Cognito that rotates as a live one was measured to.
 *
 * @see infra/local/aws_rules/refresh.py for the rules
 */
export class RotatingCognito {
  /** All refresh tokens of the sign-in, in the order in which they were made. */
  readonly made: string[];
  revoked = false;
  readonly #usedAt = new Map<string, number>();

  constructor(first: string) {
    this.made = [first];
  }

  get newest(): string {
    return this.made.at(-1) ?? '';
  }

  answer({ operation, body }: Call): Response {
    if (operation === 'RevokeToken') {
      this.revoked ||= [this.made[0], this.newest].includes(body.Token);
      return Response.json({});
    }
    return this.#refresh(body.RefreshToken ?? '');
  }

  #refresh(token: string): Response {
    const refuse = (type: string) => Response.json({ __type: type }, { status: 400 });
    if (this.revoked || !this.made.includes(token)) return refuse('NotAuthorizedException');
    const now = Date.now();
    const usedAt = this.#usedAt.get(token) ?? null;
    const over = usedAt === null ? token !== this.newest : now > usedAt + GRACE_MS;
    if (over) return refuse('RefreshTokenReuseException');
    if (usedAt === null) this.#usedAt.set(token, now);
    this.made.push(`${this.made[0]}-${this.made.length}`);
    const AccessToken = jwt('ada', now, 900, this.newest);
    const IdToken = jwt('ada', now, 900, 'id');
    return Response.json({
      AuthenticationResult: { AccessToken, IdToken, RefreshToken: this.newest, ExpiresIn: 900 },
    });
  }
}

/**
 * localStorage as a tab has it whose process is its own: it hears of another tab's write after a
 * while, and does not heed one that was overtaken by its own.
 */
export class LaggingStorage extends FakeStorage {
  readonly #tabs: LaggingStorage[];
  readonly #lagMs: number;
  readonly #underWay = new Map<string, number>();

  /** @param tabs - The storages of the other tabs; this one joins them. */
  constructor(tabs: LaggingStorage[], lagMs: number, items: Map<string, string>) {
    super(new Map(items));
    this.#tabs = tabs;
    this.#lagMs = lagMs;
    tabs.push(this);
  }

  override setItem(key: string, value: string): void {
    super.setItem(key, value);
    this.#send(key, value);
  }

  override removeItem(key: string): void {
    super.removeItem(key);
    this.#send(key, null);
  }

  #send(key: string, value: string | null): void {
    this.#underWay.set(key, (this.#underWay.get(key) ?? 0) + 1);
    setTimeout(() => {
      this.#underWay.set(key, (this.#underWay.get(key) ?? 0) - 1);
      for (const tab of this.#tabs) if (tab !== this) tab.#hear(key, value);
      tellStored(key);
    }, this.#lagMs);
  }

  #hear(key: string, value: string | null): void {
    if (this.#underWay.get(key)) return;
    if (value === null) this.items.delete(key);
    else this.items.set(key, value);
  }
}
