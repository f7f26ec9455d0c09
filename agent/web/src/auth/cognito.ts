// Calls Cognito from the browser; its two operations here take no credentials but the token.
// https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_GetTokensFromRefreshToken.html
import { isRecord } from './json';
import type { NewTokens, Session } from './storage';
import { claims, expiryOnArrival } from './tokens';

export type CognitoConfig = {
  clientId: string;
  /** Such as `https://cognito-idp.eu-central-1.amazonaws.com/`. */
  cognitoEndpoint: string;
};

export const CALL_TIMEOUT_MS = 5_000;

/**
 * Cognito's answers after which the refresh token is of no more use: the user or the client is gone
 * or may not sign in, the token is revoked, expired or malformed. All have status 400; with another
 * status the answer comes from something on the way, such as a firewall.
 */
const FINAL_ERRORS = new Set([
  'InvalidParameterException',
  'NotAuthorizedException',
  'PasswordResetRequiredException',
  'ResourceNotFoundException',
  'UnsupportedTokenTypeException',
  'UserNotConfirmedException',
  'UserNotFoundException',
]);

/**
 * What a refresh brings: new tokens; `refused` only where asking again is of no use; `reused` where
 * the token has a newer sibling or successor, which another tab may hold.
 */
export type Refreshed = NewTokens | 'refused' | 'reused' | 'unreachable';

/** Asks Cognito for new tokens, and to revoke them; what goes wrong is an answer, never thrown. */
export class CognitoClient {
  readonly #config: CognitoConfig;
  readonly #fetch: typeof fetch;
  readonly #now: () => number;

  constructor(config: CognitoConfig, send: typeof fetch, now: () => number) {
    this.#config = config;
    this.#fetch = send;
    this.#now = now;
  }

  async refresh(session: Session): Promise<Refreshed> {
    const body = { RefreshToken: session.refreshToken };
    try {
      return await this.#call('GetTokensFromRefreshToken', body, async (response) => {
        const answer: unknown = await response.json().catch(() => null);
        if (response.ok) return this.#tokens(answer, session);
        const type = errorType(response.headers.get('x-amzn-errortype'), answer);
        if (response.status !== 400) return 'unreachable';
        if (type === 'RefreshTokenReuseException') return 'reused';
        return FINAL_ERRORS.has(type) ? 'refused' : 'unreachable';
      });
    } catch {
      return 'unreachable';
    }
  }

  async revoke(refreshToken: string): Promise<void> {
    try {
      await this.#call('RevokeToken', { Token: refreshToken }, async () => undefined);
    } catch {
      // It is forgotten here all the same, and ends by itself at Cognito.
    }
  }

  #tokens(answer: unknown, session: Session): Refreshed {
    const result = isRecord(answer) ? answer.AuthenticationResult : null;
    if (!isRecord(result)) return 'unreachable';
    const { AccessToken, IdToken, RefreshToken, ExpiresIn } = result;
    if (typeof AccessToken !== 'string' || typeof IdToken !== 'string') return 'unreachable';
    const subs = [claims(AccessToken).sub, claims(IdToken).sub];
    if (subs.includes(null)) return 'unreachable';
    if (subs.some((sub) => sub !== session.sub)) return 'refused';
    const rotated = typeof RefreshToken === 'string' && RefreshToken !== '';
    return {
      accessToken: AccessToken,
      idToken: IdToken,
      refreshToken: rotated ? RefreshToken : session.refreshToken,
      expiresAt: expiryOnArrival(AccessToken, ExpiresIn, this.#now()),
    };
  }

  async #call<T>(
    operation: 'GetTokensFromRefreshToken' | 'RevokeToken',
    body: Record<string, string>,
    read: (response: Response) => Promise<T>,
  ): Promise<T> {
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(), CALL_TIMEOUT_MS);
    try {
      const response = await this.#fetch(this.#config.cognitoEndpoint, {
        method: 'POST',
        headers: {
          'Content-Type': 'application/x-amz-json-1.1',
          'X-Amz-Target': `AWSCognitoIdentityProviderService.${operation}`,
        },
        body: JSON.stringify({ ...body, ClientId: this.#config.clientId }),
        credentials: 'omit',
        cache: 'no-store',
        // A page that is closed right after signing out still revokes.
        keepalive: operation === 'RevokeToken',
        signal: stop.signal,
      });
      return await read(response);
    } finally {
      clearTimeout(timer);
    }
  }
}

/**
 * Read an error's name as AWS clients do, out of `namespace#Name:address`.
 *
 * @param header - `x-amzn-errortype`, where the browser may read it.
 * @see https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html#operation-error-serialization
 */
function errorType(header: string | null, answer: unknown): string {
  const { code, __type } = isRecord(answer) ? answer : {};
  const type = [header, __type, code].find((text) => typeof text === 'string' && text !== '');
  return String(type).split(',')[0]?.split(':')[0]?.split('#').at(-1)?.trim() ?? '';
}
