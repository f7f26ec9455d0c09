// Keeps who is signed in: in localStorage, so that it survives a reload and all tabs share it.
import { callListener } from './listeners';
import {
  type KeptSession,
  localStorageOrNull,
  type NewTokens,
  parseSession,
  type Session,
  SharedStorage,
} from './storage';
import { onWake } from './wake';

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

type SignedOutReason = 'expired' | 'user' | 'other-tab';

type SessionListener = (change: SessionChange) => void;

type SessionStoreOptions = {
  /** The app client whose sessions these are: another deployment may share the origin. */
  clientId?: string;
  storage?: Storage | null;
};

/** The session of whoever is signed in, shared by all tabs, and the news of its changes. */
export class SessionStore {
  /** What is shared with the other tabs beside the session itself. */
  readonly shared: SharedStorage;
  readonly #listeners = new Set<SessionListener>();
  /** Stands in for a storage that is full or switched off. */
  #inMemory: string | null = null;
  #useMemory: boolean;
  /** The ids of sign-ins that have ended here: a storage may keep them all the same. */
  readonly #ended = new Set<string>();
  /** The text that this tab itself has put into the storage last. */
  #written: string | null = null;
  /** The session that the listeners were told of last. */
  #known: KeptSession | null;
  /** Changes that the listeners have still to be told of. */
  readonly #untold: SessionChange[] = [];
  #telling = false;
  #stopWaking: () => void = () => undefined;

  constructor(options: SessionStoreOptions = {}) {
    const { storage = localStorageOrNull(), clientId = null } = options;
    this.shared = new SharedStorage(storage, clientId);
    this.#useMemory = storage === null;
    this.#known = this.#kept();
  }

  /** False if the session is lost when this tab is closed or reloaded. */
  get persistent(): boolean {
    return !this.#useMemory;
  }

  /** Return the session; its access token may have expired. */
  read(): Session | null {
    return this.#kept()?.session ?? null;
  }

  /** Which sign-in the session is of, however often it is renewed; null if nobody is signed in. */
  get signInId(): string | null {
    return this.#kept()?.signInId ?? null;
  }

  /** Sign a visitor in. */
  save(session: Session): void {
    const signInId = crypto.randomUUID();
    const text = JSON.stringify({ ...session, signInId, firstRefreshToken: session.refreshToken });
    if (!this.#write(text)) {
      // A reload would bring back what this tab had saved before. What another tab has saved stays:
      // it is the session of whoever uses that tab.
      if (this.#written !== null && this.#written === this.shared.read()) this.shared.remove();
      this.#keepInMemory(text);
    }
    this.#tell(false);
  }

  /** Put new tokens into the session `before`; return false if that has ended or was replaced. */
  renew(before: Session, tokens: NewTokens): boolean {
    const { lastSignOut } = this.shared;
    const kept = this.#kept();
    if (!kept || !isSame(kept.session, before)) return false;
    const text = JSON.stringify({ ...kept.fields, ...tokens });
    // A tab that has gone on in memory no longer speaks for what the others have stored.
    if (this.#useMemory || !this.#write(text)) this.#keepInMemory(text);
    // Storage has no way to compare and write at once: another tab may have signed out in between.
    if (this.shared.lastSignOut !== lastSignOut) {
      this.#inMemory = null;
      this.#useMemory = !this.shared.exists;
      if (this.shared.read() === text) this.shared.remove();
      this.#tell(true, 'other-tab');
      return false;
    }
    this.#tell(false);
    return true;
  }

  /** Sign out because Cognito no longer accepts the session's tokens. */
  expire(): void {
    this.#end('expired');
  }

  /**
   * Sign out the member whom this tab shows, and nobody who has signed in since in another tab.
   *
   * Returns the refresh tokens to revoke. Cognito ends a sign-in by its newest one or its first
   * one; the last one stored is not the newest while a refresh is under way.
   */
  signOut(): string[] {
    const shown = this.#known;
    const kept = this.#kept();
    const another = shown && kept && shown.session.sub !== kept.session.sub;
    const ended = another ? shown : (this.#end('user') ?? shown);
    if (another) this.catchUp();
    if (!ended) return [];
    const { session, firstRefreshToken } = ended;
    return [...new Set([session.refreshToken, firstRefreshToken ?? session.refreshToken])];
  }

  /** End the session; return it with the last tokens that another tab's refresh stored. */
  #end(reason: 'expired' | 'user'): KeptSession | null {
    const kept = this.#kept();
    // The mark comes first: then either this sees a refresh's tokens, or that refresh the mark.
    const signInId = kept?.signInId ?? crypto.randomUUID();
    const marked = reason !== 'user' || !kept || this.shared.markSignedOut(signInId);
    const stored = parseSession(this.shared.read());
    const ended = this.#useMemory ? kept : kept && stored;
    this.#inMemory = null;
    this.#useMemory = !this.shared.exists;
    // A tab that has gone on in memory may have missed that somebody else has signed in.
    if (!kept || !stored || kept.session.sub === stored.session.sub) this.shared.remove();
    if (!marked) this.shared.markSignedOut(signInId); // a full storage may have room for it now
    const left = parseSession(this.shared.read())?.signInId;
    if (reason === 'user' || signInId === left) this.#ended.add(signInId);
    this.#tell(false, reason);
    return ended;
  }

  /** Tell of what other tabs have done, if the browser has not told it yet. */
  readonly catchUp = (): void => {
    if (this.#isSignedOut(parseSession(this.shared.read()))) this.shared.remove();
    this.#tell(true, 'other-tab');
  };

  /** Call back on every change, in whichever tab; return how to stop it. */
  subscribe(listener: SessionListener): () => void {
    if (this.#listeners.size === 0) {
      this.#known = this.#kept();
      globalThis.addEventListener?.('storage', this.#onStorage);
      this.#stopWaking = onWake(this.catchUp);
    }
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      globalThis.removeEventListener?.('storage', this.#onStorage);
      this.#stopWaking();
    };
  }

  readonly #onStorage = (event: StorageEvent): void => {
    if (this.shared.isAboutSession(event)) this.catchUp();
  };

  #tell(fromOtherTab: boolean, reason: SignedOutReason = 'user'): void {
    const previous = this.#known?.session ?? null;
    this.#known = this.#kept();
    const current = this.#known?.session ?? null;
    if (JSON.stringify(previous) === JSON.stringify(current)) return;
    const userChanged = previous?.sub !== current?.sub;
    const signedOutReason = current ? null : reason;
    this.#untold.push({ previous, current, userChanged, fromOtherTab, signedOutReason });
    // A listener that changes the session itself: the others hear of the first change first.
    if (this.#telling) return;
    this.#telling = true;
    for (let next = this.#untold.shift(); next; next = this.#untold.shift()) this.#tellAll(next);
    this.#telling = false;
  }

  #tellAll(change: SessionChange): void {
    for (const listener of [...this.#listeners]) {
      if (this.#listeners.has(listener)) callListener(() => listener(change)); // it may have left
    }
  }

  #kept(): KeptSession | null {
    // Forget it now: the mark names only the last sign-out, and the next one overwrites it.
    if (this.#useMemory && this.#isSignedOut(parseSession(this.#inMemory))) {
      this.#inMemory = null;
      this.#useMemory = !this.shared.exists;
    }
    const kept = parseSession(this.#useMemory ? this.#inMemory : this.shared.read());
    return this.#isSignedOut(kept) ? null : kept;
  }

  /** Tell whether the sign-in has ended: another tab's refresh may write after the sign-out. */
  #isSignedOut(kept: KeptSession | null): boolean {
    const signInId = kept?.signInId ?? null;
    if (signInId === null) return false;
    return this.#ended.has(signInId) || signInId === this.shared.lastSignOut;
  }

  #write(text: string): boolean {
    if (!this.shared.write(text)) return false;
    this.#useMemory = false;
    this.#inMemory = null;
    this.#written = text;
    return true;
  }

  #keepInMemory(text: string): void {
    this.#useMemory = true;
    this.#inMemory = text;
  }
}

/** Tell whether a session still holds the same tokens. */
export function isSame(session: Session | null, before: Session): boolean {
  return session?.refreshToken === before.refreshToken && session.sub === before.sub;
}
