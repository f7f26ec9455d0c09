// Where a session is kept: localStorage, which may be blocked, full, or another deployment's too.
import type { Session } from './session';
import { clientOf, isRecord } from './tokens';

export const STORAGE_KEY = 'booking_session';

/** A session as it is kept: with its sign-in's id, and with what a newer page may keep there. */
export type Kept = { session: Session; signInId: string | null; fields: Record<string, unknown> };

/** What the tabs of one deployment share; nothing here throws. */
export class SharedStorage {
  readonly #storage: Storage | null;
  readonly #clientId: string | null;
  /** Where the session is while another deployment's is under `STORAGE_KEY`. */
  readonly #ownKey: string;
  readonly #signedOutKey: string;
  readonly #askedUntilKey: string;

  constructor(storage: Storage | null, clientId: string | null) {
    this.#storage = storage;
    this.#clientId = clientId;
    this.#ownKey = clientId === null ? STORAGE_KEY : `${STORAGE_KEY}:${clientId}`;
    this.#signedOutKey = `${this.#ownKey}:signed_out`;
    this.#askedUntilKey = `${this.#ownKey}:asked_until`;
  }

  get exists(): boolean {
    return this.#storage !== null;
  }

  /** The session as text. */
  read(): string | null {
    const text = this.#get(STORAGE_KEY);
    return text === null || this.#isForeign(text) ? this.#get(this.#ownKey) : text;
  }

  /** Says whether that is kept now. */
  write(text: string): boolean {
    const taken = this.#isForeign(this.#get(STORAGE_KEY));
    if (!this.#set(taken ? this.#ownKey : STORAGE_KEY, text)) return false;
    if (!taken && this.#ownKey !== STORAGE_KEY) this.#remove(this.#ownKey);
    return true;
  }

  remove(): void {
    if (!this.#isForeign(this.#get(STORAGE_KEY))) this.#remove(STORAGE_KEY);
    this.#remove(this.#ownKey);
  }

  /** The id of the sign-in that was signed out last. */
  get lastSignOut(): string | null {
    return this.#get(this.#signedOutKey);
  }

  /** Says whether that could be written. */
  markSignedOut(signInId: string): boolean {
    return this.#set(this.#signedOutKey, signInId);
  }

  /** When the refresh that is under way in some tab ends at the latest, epoch ms; 0 if none is. */
  get askedUntil(): number {
    return Number(this.#get(this.#askedUntilKey)) || 0;
  }

  set askedUntil(at: number) {
    if (at > 0) this.#set(this.#askedUntilKey, String(at));
    else this.#remove(this.#askedUntilKey);
  }

  /** Says whether a storage event may be about the session. */
  isAboutSession(event: StorageEvent): boolean {
    // A null key stands for `localStorage.clear()`.
    return [STORAGE_KEY, this.#ownKey, this.#signedOutKey, null].includes(event.key);
  }

  /** Says whether a session is another deployment's, which this one is to leave alone. */
  #isForeign(text: string | null): boolean {
    if (this.#clientId === null) return false;
    const session = parse(text)?.session;
    const clientId = session ? clientOf(session.accessToken) : null;
    return clientId !== null && clientId !== this.#clientId;
  }

  #get(key: string): string | null {
    try {
      return this.#storage?.getItem(key) ?? null;
    } catch {
      return null;
    }
  }

  #set(key: string, value: string): boolean {
    try {
      this.#storage?.setItem(key, value);
      return this.#get(key) === value; // some drop what is written, without a word
    } catch {
      return false;
    }
  }

  #remove(key: string): void {
    try {
      this.#storage?.removeItem(key);
    } catch {
      // Switched off: there is nothing to remove.
    }
  }
}

export function localStorageOrNull(): Storage | null {
  try {
    return globalThis.localStorage ?? null; // throws where the browser blocks it
  } catch {
    return null;
  }
}

const TEXTS = ['idToken', 'accessToken', 'refreshToken', 'guestId', 'email', 'sub'] as const;

/** Returns the session in what is kept, or null if that is none. */
export function parse(text: string | null): Kept | null {
  if (text === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isRecord(value)) return null;
  const { idToken, accessToken, refreshToken, expiresAt, guestId, email, sub } = value as Record<
    keyof Session,
    unknown
  >;
  const session = { idToken, accessToken, refreshToken, expiresAt, guestId, email, sub };
  if (TEXTS.some((name) => typeof session[name] !== 'string' || session[name] === '')) return null;
  if (typeof expiresAt !== 'number' || !Number.isFinite(expiresAt) || expiresAt <= 0) return null;
  const { signInId } = value;
  return {
    session: session as Session,
    signInId: typeof signInId === 'string' ? signInId : null,
    fields: value,
  };
}
