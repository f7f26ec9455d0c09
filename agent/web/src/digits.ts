// Reads a code as people type or paste it, in whatever script they write, and shows it in its box.

export const LONG_CODE_DIGITS = 16; // as the agent has it

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

/**
 * Return what stands in the code box after an input, and where the caret is then.
 *
 * That is digits alone, a long code in groups of four as in its mail. A long one is taken also where
 * a shorter one is waited for, as the newest mail may have brought it.
 *
 * @param forward - What stood after the caret was deleted. A blank there comes back, and is passed.
 */
export function codeInBox(value: string, caret: number, codeLength: number, forward: boolean) {
  const digits = asciiDigits(value).slice(0, LONG_CODE_DIGITS);
  const long = Math.max(codeLength, digits.length) === LONG_CODE_DIGITS;
  const text = long ? inGroups(digits) : digits;
  const before = digits.slice(0, asciiDigits(value.slice(0, caret)).length);
  const end = (long ? inGroups(before) : before).length;
  return { text, caret: forward && text[end] === ' ' ? end + 1 : end };
}

function inGroups(digits: string): string {
  return digits.replace(/\d{4}(?=\d)/g, '$& ');
}
