// Keeps an access token fresh, straight at Cognito and once for all tabs.
import { CALL_TIMEOUT_MS, CognitoClient } from './cognito';
import type { AppConfig } from './config';
import { type Locks, pause, Turns, webLocks } from './locks';
import { isSame, type NewTokens, type Session, type SessionStore, STORAGE_KEY } from './session';
import { claims, MAX_LIFE_MS } from './tokens';
import { onWake } from './wake';

const LONGEST_LEAD_MS = 5 * 60 * 1000;
/** How far a clock may be set back, as it often is a little, before a token's end is in doubt. */
const LEEWAY_MS = 60_000;

/**
 * A tab that the browser has frozen may hold the lock for good, so it is waited for no longer than
 * this. Two tabs that refresh at once do no harm: for 60 s after a refresh (the app client's grace
 * period) Cognito takes the old refresh token again. The first to store wins, and the other one
 * takes over its tokens.
 */
const LOCK_PATIENCE_MS = 3_000;
/** As long where there is no token to go on with, unless another tab is asking right now. */
const SHORT_PATIENCE_MS = 100;

/** How often one message asks, and how long it does so before the last call. */
const TRIES = 3;
const TRY_PAUSE_MS = 300;
const TRY_AGAIN_WITHIN_MS = 6_000;

/**
 * When Cognito is asked again though nobody needs a token. It may have rotated the refresh token in
 * an answer that was lost; within the grace period the old one still brings the new one.
 */
const RETRY_PAUSES_MS = [1_000, 4_000, 15_000, 30_000];
const LATER_RETRY_PAUSE_MS = 60_000;
const WAKE_PAUSE_MS = 1_000;
/** The least pause between refreshes nobody asked for, though tokens come that are over already. */
const REST_MS = 30_000;

export type RefresherOptions = {
  fetch?: typeof fetch;
  now?: () => number;
  /** Web Locks; null where the browser has none. */
  locks?: Locks | null;
};

/** The access token has expired and Cognito cannot be asked for another right now. */
export class SignInUnreachableError extends Error {
  override readonly name = 'SignInUnreachableError';

  constructor() {
    super('You are still signed in, but this cannot be checked right now. Please try again soon.');
  }
}

export class TokenRefresher {
  readonly #store: SessionStore;
  readonly #now: () => number;
  readonly #cognito: CognitoClient;
  readonly #turns: Turns;
  /** What is being asked for now, by the token that was refused. */
  readonly #underWay = new Map<string | null, Promise<string | null>>();
  /** The refresh that got no answer last, and how often in a row. */
  #unanswered: { rejected: string | null; times: number } | null = null;
  /** Who wants the token kept fresh. */
  readonly #keepers = new Set<unknown>();
  /** Until then, no refresh that nobody waits for. */
  #restUntil = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(config: AppConfig, store: SessionStore, options: RefresherOptions = {}) {
    const { now = Date.now, locks = webLocks() } = options;
    const send = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
    this.#store = store;
    this.#now = now;
    this.#cognito = new CognitoClient(config, send, now);
    this.#turns = new Turns(`${STORAGE_KEY}:${config.clientId}`, locks);
  }

  /**
   * Returns an access token that is good for a while, or null if nobody is signed in (any more).
   *
   * Throws `SignInUnreachableError` if the last one has expired and Cognito cannot be reached.
   */
  async accessToken(): Promise<string | null> {
    const session = this.#store.read();
    if (!session) return null;
    return this.#isFresh(session, null) ? session.accessToken : this.#refresh(null);
  }

  /**
   * Returns another access token than the one the agent has refused, or null.
   *
   * Throws `SignInUnreachableError` if Cognito cannot be reached.
   */
  forceRefresh(rejectedAccessToken: string): Promise<string | null> {
    return this.#refresh(rejectedAccessToken);
  }

  /** Ends the session in every tab at once, and at Cognito if that can be reached. */
  async signOut(): Promise<void> {
    const session = this.#store.signOut();
    if (session) await this.#cognito.revoke(session.refreshToken);
  }

  /** Refreshes ahead of a token's end though nobody asks for it; returns how to stop that. */
  keepFresh(): () => void {
    const plan = (): void => this.#plan();
    const stopListening = this.#store.subscribe(plan);
    const stopWaking = onWake(() => {
      if (this.#unanswered) this.#unanswered.times = 0;
      this.#restUntil = Math.min(this.#restUntil, this.#now() + WAKE_PAUSE_MS);
      plan();
    });
    this.#keepers.add(plan);
    plan();
    return () => {
      this.#keepers.delete(plan);
      stopListening();
      stopWaking();
      if (this.#keepers.size === 0) clearTimeout(this.#timer);
    };
  }

  #plan(): void {
    clearTimeout(this.#timer);
    const session = this.#store.read();
    if (!session || !(this.#keepers.size > 0 || this.#unanswered)) return;
    const { rejected, times } = this.#unanswered ?? { rejected: null, times: 0 };
    // Enough, until the next message or until the page wakes up.
    if (times > RETRY_PAUSES_MS.length && !this.#isUsable(session, rejected)) return;
    const dueAt = this.#unanswered ? 0 : this.#dueAt(session);
    const restUntil = Math.min(this.#restUntil, this.#now() + LATER_RETRY_PAUSE_MS);
    const wait = Math.max(dueAt, restUntil) - this.#now();
    this.#timer = setTimeout(() => void this.#refreshUnasked(rejected), wait);
  }

  async #refreshUnasked(rejected: string | null): Promise<void> {
    await this.#refresh(rejected).catch(() => null);
    this.#plan();
  }

  #dueAt(session: Session): number {
    const life = claims(session.accessToken).lifeMs ?? MAX_LIFE_MS;
    // With more than its whole life left, the clock was set back, and nobody knows when it ends.
    if (session.expiresAt > this.#now() + life + LEEWAY_MS) return 0;
    return session.expiresAt - Math.min(life / 3, LONGEST_LEAD_MS);
  }

  #isFresh(session: Session, rejected: string | null): boolean {
    return session.accessToken !== rejected && this.#now() < this.#dueAt(session);
  }

  #isUsable(session: Session, rejected: string | null): boolean {
    return session.accessToken !== rejected && this.#now() < session.expiresAt;
  }

  #refresh(rejected: string | null): Promise<string | null> {
    const underWay = this.#underWay.get(rejected);
    if (underWay) return underWay;
    const turn = this.#turns
      .take(
        () => this.#refreshInTurn(rejected),
        () => this.#patience(rejected),
      )
      .finally(() => this.#underWay.delete(rejected));
    this.#underWay.set(rejected, turn);
    return turn;
  }

  async #patience(rejected: string | null): Promise<void> {
    const session = this.#store.read();
    if (!session || this.#isFresh(session, rejected)) return;
    if (this.#isUsable(session, rejected)) return pause(LOCK_PATIENCE_MS);
    await pause(SHORT_PATIENCE_MS);
    const askedUntil = this.#store.shared.askedUntil - this.#now();
    await pause(Math.min(Math.max(askedUntil, 0), CALL_TIMEOUT_MS));
  }

  async #refreshInTurn(rejected: string | null): Promise<string | null> {
    // Read again: another tab may have refreshed, or signed out, while this one waited.
    const begun = this.#store.read();
    if (!begun || this.#isFresh(begun, rejected)) {
      if (this.#unanswered?.rejected === rejected) this.#unanswered = null;
      return begun?.accessToken ?? null;
    }

    const { lastSignOut } = this.#store.shared;
    const answer = await this.#ask(begun, rejected);
    if (answer === 'unreachable') return this.#goOn(rejected);
    if (answer === 'refused') {
      if (isSame(this.#store.read(), begun)) this.#store.expire();
    } else {
      if (this.#store.renew(begun, answer)) return answer.accessToken;
      // Their user has signed out: so are these. Not if another tab has renewed the same session,
      // whose tokens share an `origin_jti` with these and may be revoked with them.
      const signedOut = this.#store.shared.lastSignOut !== lastSignOut;
      const replaced = this.#store.read()?.sub !== begun.sub;
      if (signedOut || replaced) void this.#cognito.revoke(answer.refreshToken);
    }
    return this.#refreshInTurn(rejected); // for who is signed in by now, if anybody is
  }

  async #ask(
    session: Session,
    rejected: string | null,
  ): Promise<NewTokens | 'refused' | 'unreachable'> {
    const tries = this.#isUsable(session, rejected) ? 1 : TRIES;
    const begunAt = this.#now();
    for (let attempt = 1; ; attempt += 1) {
      this.#store.shared.askedUntil = this.#now() + CALL_TIMEOUT_MS;
      const answer = await this.#cognito.refresh(session);
      this.#store.shared.askedUntil = 0;
      this.#note(answer !== 'unreachable', rejected);
      if (answer !== 'unreachable' || attempt === tries) return answer;
      if (this.#now() - begunAt > TRY_AGAIN_WITHIN_MS) return answer;
      await pause(TRY_PAUSE_MS * attempt);
      if (!isSame(this.#store.read(), session)) return answer;
    }
  }

  #note(answered: boolean, rejected: string | null): void {
    const times = (this.#unanswered?.times ?? 0) + 1;
    this.#unanswered = answered ? null : { rejected, times };
    const pauseMs = RETRY_PAUSES_MS[times - 1] ?? LATER_RETRY_PAUSE_MS;
    this.#restUntil = this.#now() + (answered ? REST_MS : pauseMs);
    if (!answered) this.#plan();
  }

  #goOn(rejected: string | null): string | null {
    const session = this.#store.read();
    if (!session) return null;
    if (!this.#isUsable(session, rejected)) throw new SignInUnreachableError();
    return session.accessToken;
  }
}
