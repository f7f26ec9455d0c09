// Reads what the browser needs to know of a token; whether it is genuine is the agent's to check.
import { parseRecord } from './json';

const UNKNOWN_LIFE_MS = 15 * 60 * 1000;
/** The longest life that Cognito gives an access token. */
export const MAX_LIFE_MS = 24 * 60 * 60 * 1000;

type Claims = { sub: string | null; lifeMs: number | null };

/** Return who a token is for and how long it lives from issue to expiry. */
export function claims(token: string): Claims {
  const { sub, iat, exp } = payload(token);
  const lifeMs = typeof iat === 'number' && typeof exp === 'number' ? (exp - iat) * 1000 : 0;
  return {
    sub: typeof sub === 'string' ? sub : null,
    lifeMs: lifeMs > 0 ? Math.min(lifeMs, MAX_LIFE_MS) : null,
  };
}

/** Return when a token was issued, epoch seconds on Cognito's clock; NaN if it does not say. */
export function issuedAt(token: string): number {
  return Number(payload(token).iat ?? Number.NaN);
}

/** Return the app client an access token was issued to, or null where it names none. */
export function clientOf(accessToken: string): string | null {
  const { client_id } = payload(accessToken);
  return typeof client_id === 'string' ? client_id : null;
}

function payload(token: string): Record<string, unknown> {
  const part = token.split('.')[1] ?? '';
  try {
    const bytes = Uint8Array.from(
      atob(part.replaceAll('-', '+').replaceAll('_', '/')),
      (character) => character.charCodeAt(0),
    );
    return parseRecord(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    return {}; // no base64url
  }
}

/**
 * Return when a token that has just arrived expires, epoch ms on this computer's clock.
 *
 * The token's own `exp` is on Cognito's clock, which this one may be minutes away from.
 */
export function expiryOnArrival(token: string, expiresInSeconds: unknown, now: number): number {
  const told =
    typeof expiresInSeconds === 'number' && expiresInSeconds > 0
      ? Math.min(expiresInSeconds * 1000, MAX_LIFE_MS)
      : null;
  return now + (claims(token).lifeMs ?? told ?? UNKNOWN_LIFE_MS);
}
