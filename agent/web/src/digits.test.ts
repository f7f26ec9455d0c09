// Digits of every script that the platform knows, and what people put between them.
import { describe, expect, it } from 'vitest';

import { asciiDigits } from './digits';

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
