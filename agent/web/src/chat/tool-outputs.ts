// Reads what the agent's tools return: the one file that knows the names of their fields.
import { isRecord } from '../auth/json';
import type { Session } from '../auth/storage';
import { claims, expiryOnArrival } from '../auth/tokens';

const INITIATE = 'initiate_cognito_login';
const VERIFY = 'verify_cognito_otp';
const PROFILE = 'get_guest_profile';

/** Return what is said of a code that was sent and can be entered, or null. */
export function readCodeSent(toolName: string, output: unknown) {
  if (toolName !== INITIATE || !isRecord(output) || output.success !== true) return null;
  const codeLength = whole(output.code_length, 4, 32);
  const livesSeconds = whole(output.expires_in_seconds, 0, 3_600);
  const attemptsLeft = whole(output.attempts_left, 0, 10);
  if (codeLength === null || livesSeconds === null || attemptsLeft === null) return null;
  const destination = (text(output.destination) ?? '').slice(0, 320);
  const retryAfter = whole(output.retry_after_seconds, 0, 86_400) ?? 0;
  return { codeLength, livesSeconds, attemptsLeft, destination, retryAfter };
}

/** Return why a login, or a code entered for it, has failed, or null. */
export function readLoginFailure(toolName: string, output: unknown) {
  if (toolName !== INITIATE && toolName !== VERIFY) return null;
  if (!isRecord(output) || output.success !== false) return null;
  const { error_code: errorCode } = output;
  if (typeof errorCode !== 'string') return null;
  const attemptsLeft = whole(output.attempts_left, 0, 10); // null: it does not say
  const retryAfter = whole(output.retry_after_seconds, 0, 86_400) ?? 0;
  return { errorCode, attemptsLeft, retryAfter, codeEntered: toolName === VERIFY };
}

/** Tell whether the agent has just found that the latest message needs a sign-in. */
export function needsSignIn(toolName: string, output: unknown): boolean {
  return toolName === PROFILE && isRecord(output) && output.signed_in === false;
}

export function isTokenDelivery(output: unknown): output is Record<string, unknown> {
  return isRecord(output) && output.event_type === 'auth_tokens';
}

/** Return the session in a tool's output if it is a well-formed `TokenDeliveryEvent`, else null. */
export function sessionFromDelivery(output: unknown, now: number): Session | null {
  if (!isTokenDelivery(output) || output.success !== true) return null;
  const idToken = text(output.id_token);
  const accessToken = text(output.access_token);
  const refreshToken = text(output.refresh_token);
  const guestId = text(output.guest_id);
  const email = text(output.email);
  const sub = text(output.cognito_sub);
  if (!idToken || !accessToken || !refreshToken || !guestId || !email || !sub) return null;
  if (claims(accessToken).sub !== sub || claims(idToken).sub !== sub) return null;
  const expiresAt = expiryOnArrival(accessToken, output.expires_in, now);
  return { idToken, accessToken, refreshToken, expiresAt, guestId, email, sub };
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

function whole(value: unknown, least: number, most: number): number | null {
  if (typeof value !== 'number' || !Number.isInteger(value)) return null;
  return value >= least && value <= most ? value : null;
}
