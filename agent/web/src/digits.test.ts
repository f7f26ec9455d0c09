// Digits of every script that the platform knows, and what people put between them.
import { describe, expect, it } from 'vitest';

import { asciiDigits, codeInBox } from './digits';

const all = Array.from({ length: 0x110000 }, (_, codePoint) => codePoint)
  .filter((codePoint) => codePoint < 0xd800 || codePoint > 0xdfff)
  .map((codePoint) => String.fromCodePoint(codePoint))
  .filter((character) => /\p{Nd}/u.test(character));

describe('a code', () => {
  it.each([
    ['Arabic-Indic', '٠١٢٣٤٥٦٧٨٩'],
    ['Persian', '۰۱۲۳۴۵۶۷۸۹'],
    ['Devanagari', '०१२३४५६७८९'],
    ['Thai', '๐๑๒๓๔๕๖๗๘๙'],
    ['full-width', '０１２３４５６７８９'],
    ['mathematical', '𝟘𝟙𝟚𝟛𝟜𝟝𝟞𝟟𝟠𝟡'],
    ['ASCII', '0123456789'],
  ])('may be in %s digits', (_script, digits) => {
    expect(asciiDigits(digits)).toBe('0123456789');
  });

  it('may be in the digits of every numbering system', () => {
    const systems = Intl.supportedValuesOf('numberingSystem').map((numberingSystem) =>
      new Intl.NumberFormat('en', { numberingSystem, useGrouping: false }).format(9_876_543_210),
    );
    const decimal = systems.filter((number) => /^\p{Nd}+$/u.test(number));
    expect(decimal.length).toBeGreaterThan(50);
    expect(decimal.map(asciiDigits)).toEqual(decimal.map(() => '9876543210'));
  });

  it('may be in any digits that Unicode has', () => {
    expect(all.length).toBeGreaterThan(600);
    expect(all.map(asciiDigits).join('')).toBe('0123456789'.repeat(all.length / 10));
  });

  it.each([
    '12 34 56',
    ' 123-456\n',
    '\u200f\u0661\u0662\u0663\u200b456\u2069',
    '12\u00a03\u00ad\u20114\ufeff5\u20606',
    'Your code: ١٢٣٤٥٦.',
  ])('may be copied as %j', (text) => {
    expect(asciiDigits(text)).toBe('123456');
  });

  it.each(['', 'no digit', '一二三', 'Ⅻ'])('is not in %j', (text) => {
    expect(asciiDigits(text)).toBe('');
  });
});

/** What the box shows, with a bar for the caret, once `typed`, with one too, stands in it. */
function shown(typed: string, codeLength: number, forward = false): string {
  const caret = typed.indexOf('|');
  const kept = codeInBox(typed.replace('|', ''), caret, codeLength, forward);
  return `${kept.text.slice(0, kept.caret)}|${kept.text.slice(kept.caret)}`;
}

describe('the code box', () => {
  it.each([
    ['4071 9336 0258 1147|', '4071 9336 0258 1147|'],
    ['4071933602581147|', '4071 9336 0258 1147|'],
    ['4071-9336-0258-1147|', '4071 9336 0258 1147|'],
    [' 4071\u00a09336\n0258 1147 |', '4071 9336 0258 1147|'],
    ['４０７１　９３３６　０２５８　１１４７|', '4071 9336 0258 1147|'],
    ['4071 9336 0258 1147 99|', '4071 9336 0258 1147|'],
    ['4071|', '4071|'],
    ['4071 |', '4071|'],
    ['40719|', '4071 9|'],
    ['4071 x|9336', '4071| 9336'],
    ['407|19336', '407|1 9336'],
    ['4071 93|336', '4071 93|33 6'],
    ['|', '|'],
  ])('shows a long code typed as %j in groups of four', (typed, text) => {
    expect(shown(typed, 16)).toBe(text);
  });

  it('lets a blank be deleted on the way to the digit behind it, in either direction', () => {
    expect(shown('4071|9336', 16)).toBe('4071| 9336');
    expect(shown('4071|9336', 16, true)).toBe('4071 |9336');
    expect(shown('4071|', 16, true)).toBe('4071|');
  });

  it.each([
    ['407193|', '407193|'],
    ['407 1|93', '4071|93'],
    ['4071-93|', '407193|'],
  ])('shows a short code typed as %j in one', (typed, text) => {
    expect(shown(typed, 6)).toBe(text);
    expect(shown(typed, 6, true)).toBe(text);
  });

  it.each(['4071 9336 0258 1147|', '4071933602581147|'])(
    'cuts nothing of a long code typed as %j where a short one is waited for',
    (typed) => {
      expect(shown(typed, 6)).toBe('4071 9336 0258 1147|');
      expect(shown(typed.replace('7|', '|'), 6)).toBe('407193360258114|');
    },
  );
});
