// Reads a code as people type or paste it, in whatever script they write.

/** Returns the decimal digits of a text as ASCII; whatever stands between them is dropped. */
export function asciiDigits(text: string): string {
  const digits = text.normalize('NFKC').match(/\p{Nd}/gu) ?? [];
  return digits.map(valueOf).join('');
}

/**
 * Unicode has the decimal digits of a script in a row from zero to nine, and of some right behind
 * another's. https://www.unicode.org/reports/tr44/#Numeric_Type
 */
function valueOf(digit: string): number {
  const codePoint = digit.codePointAt(0) ?? 0;
  let before = 0;
  while (/\p{Nd}/u.test(String.fromCodePoint(codePoint - before - 1))) before++;
  return before % 10;
}
