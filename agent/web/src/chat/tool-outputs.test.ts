// The page reads what the agent's own types say.
import { describe, expect, it } from 'vitest';

import outputs from '../testing/tool-outputs.json';
import { needsSignIn, readCodeSent, readLoginFailure, sessionFromDelivery } from './tool-outputs';

const INITIATE = 'initiate_cognito_login';
const VERIFY = 'verify_cognito_otp';
const PROFILE = 'get_guest_profile';

describe('what the agent sends', () => {
  it('is a session where it delivers tokens', () => {
    const { delivery } = outputs;
    expect(sessionFromDelivery(delivery, 1_800_000_000_000)).toEqual({
      idToken: delivery.id_token,
      accessToken: delivery.access_token,
      refreshToken: delivery.refresh_token,
      expiresAt: 1_800_000_900_000,
      guestId: delivery.guest_id,
      email: delivery.email,
      sub: delivery.cognito_sub,
    });
  });

  it('is a code to wait for where one was sent', () => {
    expect(readCodeSent(INITIATE, outputs.sent)).toEqual({
      codeLength: 6,
      livesSeconds: 300,
      attemptsLeft: 3,
      destination: 'a***@e***.com',
      retryAfter: 30,
    });
  });

  it.each(outputs.refused)('is a failure where it is $error_code', (refused) => {
    for (const tool of [INITIATE, VERIFY]) {
      expect(readLoginFailure(tool, refused)).toEqual({
        errorCode: refused.error_code,
        attemptsLeft: 2,
        retryAfter: 30,
        codeEntered: tool === VERIFY,
      });
      expect(readCodeSent(tool, refused)).toBeNull();
      expect(sessionFromDelivery(refused, 0)).toBeNull();
    }
  });

  it('asks for a sign-in where nobody is signed in', () => {
    expect(needsSignIn(PROFILE, outputs.nobody)).toBe(true);
    expect(needsSignIn(PROFILE, outputs.profile)).toBe(false);
  });
});
