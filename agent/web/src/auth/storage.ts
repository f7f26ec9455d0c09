// Where a session is kept: localStorage, which may be blocked, full, or another deployment's too.
import { parseRecord } from './json';
import { clientOf } from './tokens';

export const STORAGE_KEY = 'booking_session';

export type Session = {
  idToken: string;
  accessToken: string;
  refreshToken: string;
  /** When the access token ends, epoch ms on this computer's clock. */
  expiresAt: number;
  guestId: string;
  email: string;
  sub: string;
};

/** What a refresh changes. */
export type NewTokens = Pick<Session, 'idToken' | 'accessToken' | 'refreshToken' | 'expiresAt'>;

/** A session as it is kept: with what tells of its sign-in, and what a newer page may keep there. */
export type KeptSession = {
  session: Session;
  signInId: string | null;
  /** What the sign-in began with, which ends it at Cognito whatever has come of it since. */
  firstRefreshToken: string | null;
  fields: object;
};

/** What the tabs of one deployment share, in a storage that may fail; nothing here throws. */
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

  /** Return the session's text. */
  read(): string | null {
    const text = this.#get(STORAGE_KEY);
    return text === null || this.#isForeign(text) ? this.#get(this.#ownKey) : text;
  }

  /** Keep the session's text; tell whether the storage took it. */
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

  /** Keep the id of the sign-in that has ended; tell whether the storage took it. */
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

  /** Tell whether a storage event may be about the session. */
  isAboutSession(event: StorageEvent): boolean {
    // A null key stands for `localStorage.clear()`.
    return [STORAGE_KEY, this.#ownKey, this.#signedOutKey, null].includes(event.key);
  }

  /** Tell whether a session is another deployment's, which this one is to leave alone. */
  #isForeign(text: string | null): boolean {
    if (this.#clientId === null) return false;
    const session = parseSession(text)?.session;
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

/** Return the session that a kept text holds, or null if it holds none. */
export function parseSession(text: string | null): KeptSession | null {
  const value = text === null ? null : parseRecord(text);
  if (!value) return null;
  const { idToken, accessToken, refreshToken, expiresAt, guestId, email, sub } = value;
  const session = { idToken, accessToken, refreshToken, expiresAt, guestId, email, sub };
  if (TEXTS.some((name) => typeof session[name] !== 'string' || session[name] === '')) return null;
  if (typeof expiresAt !== 'number' || !Number.isFinite(expiresAt) || expiresAt <= 0) return null;
  const textOrNull = (field: unknown) => (typeof field === 'string' ? field : null);
  return {
    session: session as Session,
    signInId: textOrNull(value.signInId),
    firstRefreshToken: textOrNull(value.firstRefreshToken),
    fields: value,
  };
}
