// What the browser reads of a token, and when it takes it to end.
import { describe, expect, it } from 'vitest';

import { jwt, NOW } from '../testing/fakes';
import { claims, expiryOnArrival } from './tokens';

describe('claims', () => {
  it('reads base64url and UTF-8', () => {
    const payload = new TextEncoder().encode(JSON.stringify({ sub: 'ÿ?>~ÿ?>', iat: 10, exp: 70 }));
    const coded = btoa(String.fromCharCode(...payload));
    expect(coded).toMatch(/\+.*\/|\/.*\+/);
    const token = `x.${coded.replaceAll('+', '-').replaceAll('/', '_')}.x`;
    expect(claims(token)).toEqual({ sub: 'ÿ?>~ÿ?>', lifeMs: 60_000 });
  });

  it('takes no life for longer than Cognito gives one', () =>
    expect(claims(jwt('ada', NOW, 1e306))).toEqual({ sub: 'ada', lifeMs: 86_400_000 }));

  it.each(['', 'a.b.c', `x.${btoa('7')}.x`, `x.${btoa('null')}.x`])(
    'reads nothing out of %j',
    (token) => expect(claims(token)).toEqual({ sub: null, lifeMs: null }),
  );
});

describe('expiryOnArrival', () => {
  it.each([
    ["the token's own life", jwt('ada', 0, 600), 900, 600_000],
    ['what it was told', 'opaque', 1200, 1_200_000],
    ['a quarter of an hour', 'opaque', 'soon', 900_000],
    ['no more than a day', 'opaque', 1e306, 86_400_000],
  ])('goes by %s', (_name, token, told, life) =>
    expect(expiryOnArrival(token, told, NOW)).toBe(NOW + life),
  );
});
