// Follows a login by the tools' outputs: whether a code is waited for, and what became of it.
import { readCodeSent, readLoginFailure } from './tool-outputs';

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

/** Return the login after a tool's output, or null if the output says nothing about it. */
export function nextChallenge(
  before: Challenge | null,
  toolName: string,
  output: unknown,
  now: number,
): Challenge | null {
  const sent = readCodeSent(toolName, output);
  if (sent) {
    const { livesSeconds, ...login } = sent;
    const open = login.attemptsLeft > 0 && livesSeconds > 0;
    return { ...login, open, expiresAt: now + livesSeconds * 1000, errorCode: null };
  }
  const failure = readLoginFailure(toolName, output);
  if (!failure) return null;
  const { errorCode, retryAfter, codeEntered } = failure;
  const known = before ?? NONE;
  const attemptsLeft = failure.attemptsLeft ?? known.attemptsLeft;
  const spent = codeEntered && attemptsLeft === 0;
  const open = known.open && !spent && !ENDED.includes(errorCode);
  return { ...known, open, attemptsLeft, retryAfter, errorCode };
}
