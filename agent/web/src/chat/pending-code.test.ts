// What becomes of a pending code, by the tools' outputs.
import { describe, expect, it } from 'vitest';

import { codeSent } from '../testing/answers';
import { NOW } from '../testing/fakes';
import { nextPendingCode, type PendingCode } from './pending-code';

const START = 'initiate_cognito_login';
const VERIFY = 'verify_cognito_otp';
const sent = { ...codeSent, retry_after_seconds: 600 };
const pending = nextPendingCode(null, START, sent, NOW) as PendingCode;
const failed = (error_code: string, more: object = {}) => ({ success: false, error_code, ...more });

describe('nextPendingCode', () => {
  it('waits for a code of the length it is told', () => {
    const long = nextPendingCode(null, START, { ...sent, code_length: 16, attempts_left: 1 }, NOW);
    expect(long).toMatchObject({ open: true, codeLength: 16, attemptsLeft: 1 });
    expect(long?.expiresAt).toBe(NOW + 300_000);
    expect(long?.retryAfter).toBe(600);
  });

  it.each([
    { code_length: 6.5 },
    { code_length: 100 },
    { expires_in_seconds: -1 },
    { expires_in_seconds: '300' },
    { attempts_left: null },
  ])('makes nothing of a code that is said to have %o', (odd) =>
    expect(nextPendingCode(null, START, { ...sent, ...odd }, NOW)).toBeNull(),
  );

  it('goes on after a wrong code, until the last try', () => {
    const next = nextPendingCode(pending, VERIFY, failed('INVALID_OTP', { attempts_left: 1 }), NOW);
    expect(next).toMatchObject({ open: true, attemptsLeft: 1, destination: 'a***@e***.com' });
    const last = nextPendingCode(next, VERIFY, failed('INVALID_OTP', { attempts_left: 0 }), NOW);
    expect(last).toMatchObject({ open: false, attemptsLeft: 0 });
    const late = nextPendingCode(last, VERIFY, failed('INVALID_OTP', { attempts_left: 2 }), NOW);
    expect(late?.open).toBe(false);
  });

  it.each(['OTP_EXPIRED', 'MAX_ATTEMPTS_EXCEEDED', 'NO_LOGIN_PENDING', 'GUEST_CREATION_FAILED'])(
    'ends with %s',
    (code) => expect(nextPendingCode(pending, VERIFY, failed(code), NOW)?.open).toBe(false),
  );

  it('keeps a code that was mailed when another may not be sent yet', () => {
    const limited = failed('RATE_LIMITED', { retry_after_seconds: 600 });
    expect(nextPendingCode(pending, START, limited, NOW)).toEqual({
      ...pending,
      retryAfter: 600,
      errorCode: 'RATE_LIMITED',
    });
    expect(nextPendingCode(null, START, limited, NOW)).toMatchObject({
      open: false,
      retryAfter: 600,
    });
  });

  it.each([
    ['get_guest_profile', failed('OTP_EXPIRED')],
    [VERIFY, { success: true, attempts_left: 0 }],
    [VERIFY, { success: false }],
    [VERIFY, 'no'],
  ])('hears nothing about a code from %s: %j', (toolName, output) =>
    expect(nextPendingCode(pending, toolName, output, NOW)).toBeNull(),
  );
});
