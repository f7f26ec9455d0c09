// Keeps who is signed in: in localStorage, so that it survives a reload and all tabs share it.

export const STORAGE_KEY = 'booking_session';

/** A token that lives longer than Cognito allows means that the clock was set back. */
const MAX_LIFE_MS = 24 * 60 * 60 * 1000;

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

export type SessionChange = {
  previous: Session | null;
  current: Session | null;
  /** Somebody signed in, signed out, or another one is signed in now. */
  userChanged: boolean;
  /** False if it happened here, true if in another tab. */
  fromOtherTab: boolean;
  /** Why nobody is signed in any more; null if somebody is. */
  signedOutReason: SignedOutReason | null;
};

export type SignedOutReason = 'expired' | 'user' | 'other-tab';

export type SessionListener = (change: SessionChange) => void;

export class SessionStore {
  readonly #storage: Storage | null;
  readonly #now: () => number;
  readonly #listeners = new Set<SessionListener>();
  /** Stands in for a storage that is full or switched off. */
  #inMemory: string | null = null;
  #useMemory: boolean;
  /** What the listeners were told last. */
  #known: Session | null;

  constructor(options: { storage?: Storage | null; now?: () => number } = {}) {
    this.#storage = options.storage === undefined ? localStorageOrNull() : options.storage;
    this.#now = options.now ?? Date.now;
    this.#useMemory = this.#storage === null;
    this.#known = this.read();
  }

  /** False if the session is lost when this tab is closed or reloaded. */
  get persistent(): boolean {
    return !this.#useMemory;
  }

  /** Returns the session, whose access token may have expired: then it is to be refreshed. */
  read(): Session | null {
    const session = parse(this.#readText());
    if (session && session.expiresAt > this.#now() + MAX_LIFE_MS) {
      return { ...session, expiresAt: this.#now() };
    }
    return session;
  }

  save(session: Session): void {
    const text = JSON.stringify(session);
    try {
      if (!this.#storage) throw new Error('no storage');
      this.#storage.setItem(STORAGE_KEY, text);
      this.#useMemory = false;
      this.#inMemory = null;
    } catch {
      this.#useMemory = true;
      this.#inMemory = text;
      this.#removeStored(); // else a reload would bring an older session back
    }
    this.#tell(false);
  }

  clear(reason: 'expired' | 'user' = 'user'): void {
    this.#inMemory = null;
    this.#useMemory = this.#storage === null;
    this.#removeStored();
    this.#tell(false, reason);
  }

  /** Calls back on every change, in whichever tab; returns how to stop it. */
  subscribe(listener: SessionListener): () => void {
    if (this.#listeners.size === 0) {
      this.#known = this.read();
      globalThis.addEventListener?.('storage', this.#onStorage);
    }
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) globalThis.removeEventListener?.('storage', this.#onStorage);
    };
  }

  readonly #onStorage = (event: StorageEvent): void => {
    // A null key stands for `localStorage.clear()`.
    if (event.key === STORAGE_KEY || event.key === null) this.#tell(true, 'other-tab');
  };

  #tell(fromOtherTab: boolean, reason: SignedOutReason = 'user'): void {
    const previous = this.#known;
    const current = this.read();
    this.#known = current;
    if (JSON.stringify(previous) === JSON.stringify(current)) return;
    const userChanged = previous?.sub !== current?.sub;
    const signedOutReason = current ? null : reason;
    for (const listener of [...this.#listeners]) {
      listener({ previous, current, userChanged, fromOtherTab, signedOutReason });
    }
  }

  #readText(): string | null {
    if (this.#useMemory) return this.#inMemory;
    try {
      return this.#storage?.getItem(STORAGE_KEY) ?? null;
    } catch {
      return null;
    }
  }

  #removeStored(): void {
    try {
      this.#storage?.removeItem(STORAGE_KEY);
    } catch {
      // Switched off: there is nothing to remove.
    }
  }
}

function localStorageOrNull(): Storage | null {
  try {
    return globalThis.localStorage ?? null; // throws where the browser blocks it
  } catch {
    return null;
  }
}

const TEXTS = ['idToken', 'accessToken', 'refreshToken', 'guestId', 'email', 'sub'] as const;

function parse(text: string | null): Session | null {
  if (text === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { idToken, accessToken, refreshToken, expiresAt, guestId, email, sub } =
    value as Record<keyof Session, unknown>;
  const session = { idToken, accessToken, refreshToken, expiresAt, guestId, email, sub };
  if (TEXTS.some((name) => typeof session[name] !== 'string' || session[name] === '')) return null;
  if (typeof expiresAt !== 'number' || !Number.isFinite(expiresAt) || expiresAt <= 0) return null;
  return session as Session;
}
