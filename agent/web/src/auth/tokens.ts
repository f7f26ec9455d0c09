// Reads what the browser needs to know of a token; whether it is genuine is the agent's to check.
import type { Session } from './session';

const UNKNOWN_LIFE_MS = 15 * 60 * 1000;

export type Claims = { sub: string | null; lifeMs: number | null };

/** Returns who a token is for and how long it lives from issue to expiry. */
export function claims(token: string): Claims {
  try {
    const payload = token.split('.')[1] ?? '';
    const bytes = Uint8Array.from(
      atob(payload.replaceAll('-', '+').replaceAll('_', '/')),
      (character) => character.charCodeAt(0),
    );
    const { sub, iat, exp } = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    const lifeMs = typeof iat === 'number' && typeof exp === 'number' ? (exp - iat) * 1000 : 0;
    return { sub: typeof sub === 'string' ? sub : null, lifeMs: lifeMs > 0 ? lifeMs : null };
  } catch {
    return { sub: null, lifeMs: null };
  }
}

/**
 * Returns when a token that has just arrived expires, on this computer's clock.
 *
 * The token's own `exp` is on Cognito's clock, which this one may be minutes away from.
 */
export function expiryOnArrival(token: string, expiresInSeconds: unknown, now: number): number {
  const told = typeof expiresInSeconds === 'number' && expiresInSeconds > 0;
  return now + (claims(token).lifeMs ?? (told ? expiresInSeconds * 1000 : UNKNOWN_LIFE_MS));
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
  if (claims(accessToken).sub !== sub) return null;
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
