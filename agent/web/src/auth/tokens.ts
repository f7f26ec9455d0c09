// Reads what the browser needs to know of a token; whether it is genuine is the agent's to check.
import type { Session } from './session';

const UNKNOWN_LIFE_MS = 15 * 60 * 1000;
/** The longest life that Cognito gives an access token. */
export const MAX_LIFE_MS = 24 * 60 * 60 * 1000;

export type Claims = { sub: string | null; lifeMs: number | null };

/** Returns who a token is for and how long it lives from issue to expiry. */
export function claims(token: string): Claims {
  const { sub, iat, exp } = payload(token);
  const lifeMs = typeof iat === 'number' && typeof exp === 'number' ? (exp - iat) * 1000 : 0;
  return {
    sub: typeof sub === 'string' ? sub : null,
    lifeMs: lifeMs > 0 ? Math.min(lifeMs, MAX_LIFE_MS) : null,
  };
}

/** Returns the app client an access token was issued to, or null where it names none. */
export function clientOf(accessToken: string): string | null {
  const clientId = payload(accessToken)['client_id'];
  return typeof clientId === 'string' ? clientId : null;
}

function payload(token: string): Record<string, unknown> {
  try {
    const part = token.split('.')[1] ?? '';
    const bytes = Uint8Array.from(
      atob(part.replaceAll('-', '+').replaceAll('_', '/')),
      (character) => character.charCodeAt(0),
    );
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return isRecord(value) ? value : {};
  } catch {
    return {};
  }
}

/**
 * Returns when a token that has just arrived expires, on this computer's clock.
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

/**
 * Returns the session in a tool's output if it is a well-formed `TokenDeliveryEvent`, else null.
 */
export function sessionFromDelivery(output: unknown, now: number): Session | null {
  if (!isTokenDelivery(output) || output['success'] !== true) return null;
  const idToken = text(output['id_token']);
  const accessToken = text(output['access_token']);
  const refreshToken = text(output['refresh_token']);
  const guestId = text(output['guest_id']);
  const email = text(output['email']);
  const sub = text(output['cognito_sub']);
  if (!idToken || !accessToken || !refreshToken || !guestId || !email || !sub) return null;
  if (claims(accessToken).sub !== sub || claims(idToken).sub !== sub) return null;
  const expiresAt = expiryOnArrival(accessToken, output['expires_in'], now);
  return { idToken, accessToken, refreshToken, expiresAt, guestId, email, sub };
}

export function isTokenDelivery(output: unknown): output is Record<string, unknown> {
  return isRecord(output) && output['event_type'] === 'auth_tokens';
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}
