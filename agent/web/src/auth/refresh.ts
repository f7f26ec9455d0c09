// Keeps an access token fresh, straight at Cognito and once for all tabs.
// https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_GetTokensFromRefreshToken.html
import type { AppConfig } from './config';
import type { Session, SessionStore } from './session';
import { claims, expiryOnArrival, isRecord } from './tokens';

const LOCK_NAME = 'booking_session';
const LONGEST_LEAD_MS = 5 * 60 * 1000;
const CALL_TIMEOUT_MS = 5_000;
/** A tab that the browser has frozen may hold the lock for good. */
const LOCK_TIMEOUT_MS = 15_000;

/** Cognito's answers after which the refresh token is of no more use. */
const FINAL_ERRORS = new Set([
  'InvalidParameterException',
  'NotAuthorizedException',
  'PasswordResetRequiredException',
  'RefreshTokenReuseException',
  'ResourceNotFoundException',
  'UnsupportedTokenTypeException',
  'UserNotConfirmedException',
  'UserNotFoundException',
]);

export type RefresherOptions = {
  fetch?: typeof fetch;
  now?: () => number;
  /** Web Locks; null where the browser has none. */
  locks?: Pick<LockManager, 'request'> | null;
};

/** The access token has expired and Cognito cannot be asked for another right now. */
export class SignInUnreachableError extends Error {
  override readonly name = 'SignInUnreachableError';

  constructor() {
    super('You are still signed in, but this cannot be checked right now. Please try again soon.');
  }
}

type Refreshed = { accessToken: string; idToken: string; refreshToken: string; expiresAt: number };

export class TokenRefresher {
  readonly #config: AppConfig;
  readonly #store: SessionStore;
  readonly #fetch: typeof fetch;
  readonly #now: () => number;
  readonly #locks: Pick<LockManager, 'request'> | null;
  /** The turn of this tab alone, where there are no Web Locks. */
  #queue: Promise<unknown> = Promise.resolve();

  constructor(config: AppConfig, store: SessionStore, options: RefresherOptions = {}) {
    this.#config = config;
    this.#store = store;
    this.#fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
    this.#now = options.now ?? Date.now;
    this.#locks =
      options.locks === undefined ? (globalThis.navigator?.locks ?? null) : options.locks;
  }

  /**
   * Returns an access token that is good for a while, or null if nobody is signed in (any more).
   *
   * Throws `SignInUnreachableError` if the last one has expired and Cognito cannot be reached.
   */
  async accessToken(): Promise<string | null> {
    const session = this.#store.read();
    if (!session) return null;
    return this.#isDue(session) ? this.#refresh(null) : session.accessToken;
  }

  /**
   * Returns another access token than the one the agent has refused, or null.
   *
   * Throws `SignInUnreachableError` if Cognito cannot be reached.
   */
  forceRefresh(rejectedAccessToken: string): Promise<string | null> {
    return this.#refresh(rejectedAccessToken);
  }

  /** Ends the session in every tab, and at Cognito if that can be reached. */
  async signOut(): Promise<void> {
    await this.#locked(async () => {
      const session = this.#store.read();
      this.#store.clear('user');
      if (session) await this.#revoke(session.refreshToken);
    }, 'go on');
  }

  #isDue(session: Session): boolean {
    const life = claims(session.accessToken).lifeMs ?? 3 * LONGEST_LEAD_MS;
    return this.#now() >= session.expiresAt - Math.min(life / 3, LONGEST_LEAD_MS);
  }

  async #refresh(rejected: string | null): Promise<string | null> {
    try {
      return await this.#locked(() => this.#refreshAlone(rejected), 'give up');
    } catch (error) {
      if (error instanceof SignInUnreachableError) throw error;
      return this.#oldToken(rejected); // the lock could not be had
    }
  }

  async #refreshAlone(rejected: string | null): Promise<string | null> {
    // Read again: another tab may have refreshed, or signed out, while this one waited.
    const begun = this.#store.read();
    if (!begun) return null;
    const done = rejected === null ? !this.#isDue(begun) : begun.accessToken !== rejected;
    if (done) return begun.accessToken;

    const answer = await this.#askForTokens(begun);
    if (answer === 'unreachable') return this.#oldToken(rejected);
    const current = this.#store.read();
    const same = current?.refreshToken === begun.refreshToken && current.sub === begun.sub;
    if (!same) {
      // Their user has signed out: so are these. Not if another tab has renewed the same session,
      // whose tokens share an `origin_jti` with these and may be revoked with them.
      if (answer !== 'refused' && current?.sub !== begun.sub) {
        await this.#revoke(answer.refreshToken);
      }
      return current?.accessToken ?? null;
    }
    if (answer === 'refused') {
      this.#store.clear('expired');
      return null;
    }
    this.#store.save({ ...current, ...answer });
    return answer.accessToken;
  }

  #oldToken(rejected: string | null): string | null {
    const session = this.#store.read();
    if (!session) return null;
    const usable = session.expiresAt > this.#now() && session.accessToken !== rejected;
    if (!usable) throw new SignInUnreachableError();
    return session.accessToken;
  }

  async #askForTokens(session: Session): Promise<Refreshed | 'refused' | 'unreachable'> {
    try {
      const response = await this.#call('GetTokensFromRefreshToken', {
        RefreshToken: session.refreshToken,
        ClientId: this.#config.clientId,
      });
      const answer: unknown = await response.json();
      if (!isRecord(answer)) return 'unreachable';
      if (!response.ok) return FINAL_ERRORS.has(errorType(answer)) ? 'refused' : 'unreachable';
      return this.#refreshed(answer['AuthenticationResult'], session);
    } catch {
      return 'unreachable';
    }
  }

  #refreshed(result: unknown, session: Session): Refreshed | 'refused' | 'unreachable' {
    if (!isRecord(result)) return 'unreachable';
    const { AccessToken, IdToken, RefreshToken, ExpiresIn } = result;
    if (typeof AccessToken !== 'string' || typeof IdToken !== 'string') return 'unreachable';
    if (claims(AccessToken).sub !== session.sub) return 'refused';
    const rotated = typeof RefreshToken === 'string' && RefreshToken !== '';
    return {
      accessToken: AccessToken,
      idToken: IdToken,
      refreshToken: rotated ? RefreshToken : session.refreshToken,
      expiresAt: expiryOnArrival(AccessToken, ExpiresIn, this.#now()),
    };
  }

  async #revoke(refreshToken: string): Promise<void> {
    try {
      await this.#call('RevokeToken', { Token: refreshToken, ClientId: this.#config.clientId });
    } catch {
      // It is forgotten here all the same, and ends by itself at Cognito.
    }
  }

  #call(operation: string, body: Record<string, string>): Promise<Response> {
    return this.#fetch(this.#config.cognitoEndpoint, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/x-amz-json-1.1',
        'X-Amz-Target': `AWSCognitoIdentityProviderService.${operation}`,
      },
      body: JSON.stringify(body),
      credentials: 'omit',
      cache: 'no-store',
      // A page that is closed right after signing out still revokes.
      keepalive: operation === 'RevokeToken',
      signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
    });
  }

  async #locked<T>(work: () => Promise<T>, otherwise: 'give up' | 'go on'): Promise<T> {
    if (!this.#locks) {
      const turn = this.#queue.then(work);
      this.#queue = turn.catch(() => undefined);
      return turn;
    }
    let begun = false;
    const started = (): Promise<T> => {
      begun = true;
      return work();
    };
    try {
      const signal = AbortSignal.timeout(LOCK_TIMEOUT_MS);
      return await this.#locks.request(LOCK_NAME, { signal }, started);
    } catch (error) {
      if (begun || otherwise === 'give up') throw error;
      return work();
    }
  }
}

function errorType(answer: Record<string, unknown>): string {
  const type = answer['__type'];
  return typeof type === 'string' ? (type.split('#').at(-1) ?? '') : '';
}
