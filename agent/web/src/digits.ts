// Reads a code as people type or paste it, in whatever script they write.

/** Return the decimal digits of a text as ASCII; whatever stands between them is dropped. */
export function asciiDigits(text: string): string {
  const digits = text.normalize('NFKC').match(/\p{Nd}/gu) ?? [];
  return digits.map(digitValue).join('');
}

/**
 * Return the value of a decimal digit.
 *
 * Unicode has the digits of a script in a row from zero to nine; the next row may follow at once.
 * https://www.unicode.org/reports/tr44/#Numeric_Type
 */
function digitValue(digit: string): number {
  const codePoint = digit.codePointAt(0) ?? 0;
  let before = 0;
  while (/\p{Nd}/u.test(String.fromCodePoint(codePoint - before - 1))) before++;
  return before % 10;
}
