// Keeps an access token fresh, straight at Cognito and once for all tabs.
import { CALL_TIMEOUT_MS, CognitoClient, type CognitoConfig, type Refreshed } from './cognito';
import { CrossTabLock, type WebLocks, webLocks } from './locks';
import { isSame, type SessionStore } from './session';
import { type NewTokens, type Session, STORAGE_KEY } from './storage';
import { claims, issuedAt, MAX_LIFE_MS } from './tokens';
import { onWake } from './wake';

const LONGEST_LEAD_MS = 5 * 60 * 1000;
/** How far a clock may be set back before a token's end is in doubt; small corrections are common. */
const LEEWAY_MS = 60_000;

/**
 * A tab that the browser has frozen may hold the lock for good, so it is waited for no longer than
 * this. Two tabs may refresh at once then, as they may without locks: see `#inDoubt`.
 */
const LOCK_WAIT_MS = 3_000;
/** The same where no token is left to go on with, unless another tab is asking right now. */
const SHORT_LOCK_WAIT_MS = 100;

/** How often Cognito is asked for one message, and how long until no further try begins. */
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
/** The least pause between refreshes in the background, even if the new tokens have expired. */
const REST_MS = 30_000;
/** By when the tabs see what one has stored; until then another may store over it unseen. */
const SETTLED_MS = 1_000;
/** How many refresh tokens a tab remembers: more than come together in one doubt. */
const OWN_TOKENS = 5;

type RefresherOptions = {
  fetch?: typeof fetch;
  now?: () => number;
  /** Web Locks; null where the browser has none. */
  locks?: WebLocks | null;
};

/** The access token has expired and Cognito cannot be asked for another right now. */
export class SignInUnreachableError extends Error {
  override readonly name = 'SignInUnreachableError';
  readonly code = 'sign_in_unreachable';

  constructor() {
    super('sign_in_unreachable');
  }
}

/** Gives out access tokens that last, refreshing the session's at Cognito when they are due. */
export class TokenRefresher {
  readonly #store: SessionStore;
  readonly #now: () => number;
  readonly #cognito: CognitoClient;
  readonly #lock: CrossTabLock;
  /** The refreshes under way, by the token that the agent has rejected; null if it has none. */
  readonly #underWay = new Map<string | null, Promise<string | null>>();
  /** The last refresh, if it got no answer, and how many in a row have got none. */
  #unanswered: { rejected: string | null; times: number } | null = null;
  /**
   * Whether the stored refresh token may have a newer sibling: another tab stored its own while this
   * one asked, or the answer was lost.
   *
   * For 60 s after a refresh (the app client's grace period) Cognito takes the old refresh token
   * again and gives another successor; from then on the newest successor alone refreshes. Only
   * Cognito can tell which one that is, so a tab in doubt refreshes with the stored one at once, and
   * with its own if that is refused. What comes of it is the newest and replaces the stored one;
   * where yet another tab was faster, the doubt goes on.
   */
  #inDoubt = false;
  /** The refresh tokens that this tab has used or been given, the last one last. */
  #own: string[] = [];
  /** The sign-in that these are of, and that the doubt is about. */
  #signInId: string | null = null;
  /** One entry for each `keepFresh` that has not been stopped. */
  readonly #keepers = new Set<unknown>();
  /** When the next refresh in the background may begin, epoch ms. */
  #restUntil = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(config: CognitoConfig, store: SessionStore, options: RefresherOptions = {}) {
    const { now = Date.now, locks = webLocks() } = options;
    const send = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
    this.#store = store;
    this.#now = now;
    this.#cognito = new CognitoClient(config, send, now);
    this.#lock = new CrossTabLock(`${STORAGE_KEY}:${config.clientId}`, locks);
  }

  /**
   * Return an access token that is good for a while, or null if nobody is signed in (any more).
   *
   * Throws `SignInUnreachableError` if the last one has expired and Cognito cannot be reached.
   */
  async accessToken(): Promise<string | null> {
    const session = this.#store.read();
    if (!session) return null;
    return this.#isFresh(session, null) ? session.accessToken : this.#refresh(null);
  }

  /**
   * Return another access token than the one the agent has rejected, or null.
   *
   * Throws `SignInUnreachableError` if Cognito cannot be reached.
   */
  forceRefresh(rejectedAccessToken: string): Promise<string | null> {
    return this.#refresh(rejectedAccessToken);
  }

  /** End the session in every tab at once, and at Cognito if that can be reached. */
  async signOut(): Promise<void> {
    await Promise.all(this.#store.signOut().map((token) => this.#cognito.revoke(token)));
  }

  /** Refresh in the background, ahead of each token's end; return how to stop that. */
  keepFresh(): () => void {
    const schedule = (): void => this.#schedule();
    const stopListening = this.#store.subscribe(schedule);
    const stopWaking = onWake(() => {
      if (this.#unanswered) this.#unanswered.times = 0;
      this.#restUntil = Math.min(this.#restUntil, this.#now() + WAKE_PAUSE_MS);
      schedule();
    });
    this.#keepers.add(schedule);
    schedule();
    return () => {
      this.#keepers.delete(schedule);
      stopListening();
      stopWaking();
      if (this.#keepers.size === 0) clearTimeout(this.#timer);
    };
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    const session = this.#store.read();
    if (!session || !(this.#keepers.size > 0 || this.#unanswered)) return;
    const { rejected, times } = this.#unanswered ?? { rejected: null, times: 0 };
    // Tried often enough, until the next message or until the page wakes up.
    if (times > RETRY_PAUSES_MS.length && !this.#isUsable(session, rejected)) return;
    const dueAt = this.#unanswered ? 0 : this.#dueAt(session);
    const restUntil = Math.min(this.#restUntil, this.#now() + LATER_RETRY_PAUSE_MS);
    const wait = Math.max(dueAt, restUntil) - this.#now();
    this.#timer = setTimeout(() => void this.#refreshInBackground(rejected), wait);
  }

  async #refreshInBackground(rejected: string | null): Promise<void> {
    await this.#refresh(rejected).catch(() => null);
    this.#schedule();
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

  #isSure(session: Session, rejected: string | null): boolean {
    return !this.#inDoubt && this.#isFresh(session, rejected);
  }

  #isUsable(session: Session, rejected: string | null): boolean {
    return session.accessToken !== rejected && this.#now() < session.expiresAt;
  }

  #refresh(rejected: string | null): Promise<string | null> {
    const underWay = this.#underWay.get(rejected);
    if (underWay) return underWay;
    const refresh = this.#lock
      .run(
        () => this.#refreshLocked(rejected),
        () => this.#waitForOtherTabs(rejected),
      )
      .finally(() => this.#underWay.delete(rejected));
    this.#underWay.set(rejected, refresh);
    return refresh;
  }

  async #waitForOtherTabs(rejected: string | null): Promise<void> {
    const session = this.#store.read();
    if (!session || this.#isSure(session, rejected)) return;
    if (this.#isUsable(session, rejected)) return pause(LOCK_WAIT_MS);
    await pause(SHORT_LOCK_WAIT_MS);
    const askedUntil = this.#store.shared.askedUntil - this.#now();
    await pause(Math.min(Math.max(askedUntil, 0), CALL_TIMEOUT_MS));
  }

  async #refreshLocked(rejected: string | null): Promise<string | null> {
    // Read again: another tab may have refreshed, or signed out, while this one waited.
    const before = this.#store.read();
    const { signInId } = this.#store;
    if (this.#signInId !== signInId) {
      this.#signInId = signInId;
      this.#own = [];
      this.#inDoubt = false;
    }
    if (!before || this.#isSure(before, rejected)) {
      if (this.#unanswered?.rejected === rejected) this.#unanswered = null;
      return before?.accessToken ?? null;
    }

    const { lastSignOut } = this.#store.shared;
    const answer = await this.#askWithAll(before, rejected);
    if (answer === 'unreachable') {
      this.#inDoubt = true;
      return this.#usableToken(rejected);
    }
    if (answer === 'refused' || answer === 'reused') {
      if (isSame(this.#store.read(), before)) {
        this.#inDoubt = false;
        // Its access token is good for a while yet, in which another tab may bring the newest.
        if (answer === 'reused' && this.#isUsable(before, rejected)) return before.accessToken;
        await this.#expire(before, answer);
      }
    } else {
      this.#remember(answer.refreshToken);
      if (this.#store.renew(before, answer)) {
        this.#inDoubt = false;
        void this.#lookAgain(answer);
        return answer.accessToken;
      }
      const current = this.#store.read();
      this.#inDoubt = current !== null && this.#store.signInId === signInId;
      // The user has signed out meanwhile, so these tokens end too.
      const signedOut = this.#store.shared.lastSignOut !== lastSignOut;
      const over = !this.#inDoubt && (signedOut || current?.sub !== before.sub);
      if (over) void this.#cognito.revoke(answer.refreshToken);
    }
    return this.#refreshLocked(rejected); // for whoever is signed in by now
  }

  /**
   * End the session, unless another tab has stored other tokens of it.
   *
   * A token with a newer sibling gives that tab the time of two calls: the one under way, and the
   * one by which it finds out which is newer.
   */
  async #expire(before: Session, answer: 'refused' | 'reused'): Promise<void> {
    const until = this.#now() + (answer === 'reused' ? 2 * CALL_TIMEOUT_MS : 0);
    while (isSame(this.#store.read(), before)) {
      if (this.#now() >= until) return this.#store.expire();
      await pause(TRY_PAUSE_MS);
    }
  }

  /**
   * See whether another tab has stored its own tokens over these, without having seen them: storage
   * has no way to compare and write at once.
   */
  async #lookAgain({ accessToken, refreshToken }: NewTokens): Promise<void> {
    await pause(SETTLED_MS);
    const stored = this.#store.read();
    if (!stored || stored.refreshToken === refreshToken) return;
    // Of a later second it is newer for sure, or two tabs would doubt each other's answers for good.
    if (!(issuedAt(stored.accessToken) <= issuedAt(accessToken))) return;
    this.#inDoubt = true;
    await this.#refreshInBackground(null);
  }

  #remember(refreshToken: string): void {
    const others = this.#own.filter((each) => each !== refreshToken);
    this.#own = [...others, refreshToken].slice(-OWN_TOKENS);
  }

  /** Ask with the stored refresh token, and with this tab's own where that has a newer sibling. */
  async #askWithAll(session: Session, rejected: string | null): Promise<Refreshed> {
    const own = this.#own.filter((each) => each !== session.refreshToken);
    let answer = await this.#ask(session, session.refreshToken, rejected);
    for (let next = own.pop(); next && answer === 'reused'; next = own.pop()) {
      answer = await this.#ask(session, next, rejected);
    }
    return answer;
  }

  async #ask(session: Session, refreshToken: string, rejected: string | null): Promise<Refreshed> {
    this.#remember(refreshToken);
    const tries = this.#isUsable(session, rejected) ? 1 : TRIES;
    const begunAt = this.#now();
    for (let attempt = 1; ; attempt += 1) {
      this.#store.shared.askedUntil = this.#now() + CALL_TIMEOUT_MS;
      const answer = await this.#cognito.refresh({ ...session, refreshToken });
      this.#store.shared.askedUntil = 0;
      this.#noteAnswer(answer !== 'unreachable', rejected);
      if (answer !== 'unreachable' || attempt === tries) return answer;
      if (this.#now() - begunAt > TRY_AGAIN_WITHIN_MS) return answer;
      await pause(TRY_PAUSE_MS * attempt);
      if (!isSame(this.#store.read(), session)) return answer;
    }
  }

  #noteAnswer(answered: boolean, rejected: string | null): void {
    const times = (this.#unanswered?.times ?? 0) + 1;
    this.#unanswered = answered ? null : { rejected, times };
    const pauseMs = RETRY_PAUSES_MS[times - 1] ?? LATER_RETRY_PAUSE_MS;
    this.#restUntil = this.#now() + (answered ? REST_MS : pauseMs);
    if (!answered) this.#schedule();
  }

  #usableToken(rejected: string | null): string | null {
    const session = this.#store.read();
    if (!session) return null;
    if (!this.#isUsable(session, rejected)) throw new SignInUnreachableError();
    return session.accessToken;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
