// Follows a code by the tools' outputs: whether it is still waited for, and what became of it.
import { readCodeSent, readLoginFailure } from './tool-outputs';

/** A code that was asked for, whether or not it was mailed and can still be entered. */
export type PendingCode = {
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
const NONE: PendingCode = {
  open: false,
  codeLength: 6,
  expiresAt: 0,
  attemptsLeft: 0,
  destination: '',
  retryAfter: 0,
  errorCode: null,
};

/** Return the code as a tool's output leaves it, or null if the output says nothing about one. */
export function nextPendingCode(
  before: PendingCode | null,
  toolName: string,
  output: unknown,
  now: number,
): PendingCode | null {
  const sent = readCodeSent(toolName, output);
  if (sent) {
    const { livesSeconds, ...code } = sent;
    const open = code.attemptsLeft > 0 && livesSeconds > 0;
    return { ...code, open, expiresAt: now + livesSeconds * 1000, errorCode: null };
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
