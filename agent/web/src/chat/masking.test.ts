// What is taken for a token, in texts and in values.
import { describe, expect, it } from 'vitest';

import { jwt, NOW } from '../testing/fakes';
import { holdsToken, isLikeToken, maskTokens, TextMask } from './masking';

const JWT = jwt('ada', NOW);
const UNSIGNED = 'eyJhbGciOiJub25lIn0.e30.';
const ENCRYPTED_DIRECTLY = 'eyJhbGciOiJkaXIifQ..iv.ciphertext.tag';
const LONG_HEADER = `eyJ${'a'.repeat(3_000)}.payload.signature`;

describe.each([
  ['one as Cognito signs it', JWT],
  ['one without a signature', UNSIGNED],
  ['one without an encrypted key', ENCRYPTED_DIRECTLY],
  ['one with a long header', LONG_HEADER],
])('a token: %s', (_name, token) => {
  it.each(['', 'Bearer ', 'x', 'note_', '"', '.', 'eyJ', 'ey'])('is one after %j', (before) => {
    expect(isLikeToken(`${before}${token}`)).toBe(true);
    expect(holdsToken({ deep: [`${before}${token}`] })).toBe(true);
    const masked = before === 'eyJ' ? '[hidden]' : `${before}[hidden]`;
    expect(maskTokens(`${before}${token} end`)).toBe(`${masked} end`);
  });

  it('is one as the name of a field', () => {
    expect(holdsToken([{ [token]: 1 }])).toBe(true);
  });

  it('is masked in pieces of any size', () => {
    for (const size of [1, 2, 3, 5, 50]) {
      const mask = new TextMask();
      const text = `See ${token}, ${token}`;
      let shown = '';
      for (let at = 0; at < text.length; at += size) shown += mask.next(text.slice(at, at + size));
      shown += mask.rest();
      expect(shown).toMatch(/^See (ey?)?\[hidden\], (ey?)?\[hidden\]$/);
    }
  });
});

it.each([
  'Keys, eyes and Wikipedia.',
  'keyJustification and eyJournal.md',
  'an access_token, e.g. of example.com',
  'eyJ',
  'eyJhbGciOiJub25lIn0.',
  '',
])('is none in %j', (text) => {
  expect(isLikeToken(text)).toBe(false);
  expect(maskTokens(text)).toBe(text);
});

it('is none in a cursor, which has a single part', () => {
  expect(holdsToken({ next: `eyJ${'a'.repeat(200)}` })).toBe(false);
});

it.each(['id_token', 'accessToken', 'refresh_token', 'RefreshToken', 'userIdToken', 'x-id-token'])(
  'may have any shape in a field %s',
  (name) => expect(holdsToken([{ [name]: 'x' }])).toBe(true),
);

it('is none in the name of an error', () => {
  expect(holdsToken({ error_code: 'INVALID_TOKEN' })).toBe(false);
});

it('is held back no further than any word goes', () => {
  const mask = new TextMask();
  expect(mask.next(`eyJ${'a'.repeat(99)}`)).toBe('');
  expect(mask.next('a')).toBe('[hidden]');
  expect(mask.next('more, ')).toBe(', ');
});
