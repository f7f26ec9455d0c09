// Follows a login from the tools' outputs: whether a code is waited for, and what became of it.
import { isRecord } from '../auth/tokens';

/** A login that waits for a code, or one that has just ended without success. */
export type Challenge = {
  /** False once no code can be entered any more; a new one may be asked for. */
  open: boolean;
  codeLength: number;
  /** Epoch ms on this computer's clock. */
  expiresAt: number;
  attemptsLeft: number;
  /** The masked address. */
  destination: string;
  /** Seconds from now until another code may be asked for. */
  retryAfter: number;
  /** Why the last step failed, such as `INVALID_OTP`; null if it did not. */
  errorCode: string | null;
};

const ENDED = ['OTP_EXPIRED', 'MAX_ATTEMPTS_EXCEEDED', 'NO_LOGIN_PENDING', 'GUEST_CREATION_FAILED'];
const NONE: Challenge = {
  open: false,
  codeLength: 6,
  expiresAt: 0,
  attemptsLeft: 0,
  destination: '',
  retryAfter: 0,
  errorCode: null,
};

/** Returns the login after a tool's output, or null if the output says nothing about it. */
export function nextChallenge(
  before: Challenge | null,
  toolName: string,
  output: unknown,
  now: number,
): Challenge | null {
  if (!isRecord(output)) return null;
  if (toolName === 'initiate_cognito_login' && output['success'] === true) {
    return sent(output, now);
  }
  const errorCode = output['error_code'];
  const isLogin = toolName === 'initiate_cognito_login' || toolName === 'verify_cognito_otp';
  if (!isLogin || output['success'] !== false || typeof errorCode !== 'string') return null;
  const known = before ?? NONE;
  const attemptsLeft = whole(output['attempts_left'], 0, 10) ?? known.attemptsLeft;
  const spent = toolName === 'verify_cognito_otp' && attemptsLeft === 0;
  return {
    ...known,
    open: known.open && !spent && !ENDED.includes(errorCode),
    attemptsLeft,
    retryAfter: whole(output['retry_after_seconds'], 0, 86_400) ?? 0,
    errorCode,
  };
}

function sent(output: Record<string, unknown>, now: number): Challenge | null {
  const codeLength = whole(output['code_length'], 4, 12);
  const livesSeconds = whole(output['expires_in_seconds'], 0, 3_600);
  const attemptsLeft = whole(output['attempts_left'], 0, 10);
  const destination = output['destination'];
  if (codeLength === null || livesSeconds === null || attemptsLeft === null) return null;
  return {
    open: attemptsLeft > 0 && livesSeconds > 0,
    codeLength,
    expiresAt: now + livesSeconds * 1000,
    attemptsLeft,
    destination: typeof destination === 'string' ? destination.slice(0, 320) : '',
    retryAfter: whole(output['retry_after_seconds'], 0, 86_400) ?? 0,
    errorCode: null,
  };
}

function whole(value: unknown, least: number, most: number): number | null {
  if (typeof value !== 'number' || !Number.isInteger(value)) return null;
  return value >= least && value <= most ? value : null;
}
