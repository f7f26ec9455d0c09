// Finds what looks like a token where none belongs, in case the agent lets one through.

const MASK = '[hidden]';
/** The most of a text that is held back: what goes on for longer is no word. */
const MAX_WORD = 100;

// A token of Cognito is base64url parts with dots between, the first one a JSON object: `{"` and a
// letter are `eyJ`. https://www.rfc-editor.org/rfc/rfc7515#section-3.1
const TOKEN = /(?<![\w-])(?=[\w-]*\.[\w.-])[\w-]*?eyJ[\w-]{8}/;
const FIELD = /(?:(?<!val)id|access|refresh)[_-]?token/i; // but no INVALID_TOKEN
const IN_TEXT = new RegExp(
  `eyJ(?:[\\w-]{8,${MAX_WORD - 1}}\\.[\\w.-]|[\\w-]{${MAX_WORD}})[\\w.-]*`,
  'g',
);
const BEGINNING = new RegExp(
  `(?:e|ey|eyJ(?:[\\w-]{0,${MAX_WORD - 1}}|[\\w-]{8,${MAX_WORD - 1}}\\.))$`,
);

/** Tell whether a JSON value holds a token anywhere, or a field with the name of one. */
export function holdsToken(value: unknown): boolean {
  const json = JSON.stringify(value) ?? '';
  return FIELD.test(json) || isLikeToken(json);
}

export function isLikeToken(text: string): boolean {
  return TOKEN.test(text);
}

/** Put a mask in the place of each token in a text. */
export function maskTokens(text: string): string {
  const mask = new TextMask();
  return mask.next(text) + mask.rest();
}

/**
 * Masks the tokens of a text that comes in pieces, between any of which a token may be split.
 *
 * What begins with `eyJ` is held back until it is clear whether it is a token; hardly any text is.
 */
export class TextMask {
  /** The end of the text, if that may be a token's beginning. */
  #beginning = '';
  /** How many characters of it were shown before it looked like that. */
  #shown = 0;
  #inToken: boolean;

  /** @param inToken - The text before this one ended within a token that may go on here. */
  constructor(inToken = false) {
    this.#inToken = inToken;
  }

  /** Tell whether the text ends within what may be a token. */
  get inToken(): boolean {
    return this.#inToken || this.#beginning.startsWith('eyJ');
  }

  /** Take the next piece and return what may be shown. */
  next(piece: string): string {
    const before = this.#beginning.slice(0, this.#shown);
    const text = this.#beginning + (this.#inToken ? piece.replace(/^[\w.-]+/, '') : piece);
    if (text === '') return '';
    this.#inToken = false;
    const masked = text.replace(IN_TEXT, (token, offset: number) => {
      this.#inToken = offset + token.length === text.length;
      return MASK;
    });
    this.#beginning = BEGINNING.exec(masked)?.[0] ?? '';
    const from = masked.startsWith(before) ? before.length : 0;
    const beginning = masked.length - this.#beginning.length;
    const to = this.#beginning.startsWith('eyJ') ? Math.max(from, beginning) : masked.length;
    this.#shown = Math.max(0, to - beginning);
    return masked.slice(from, to);
  }

  /** Return what was held back: the text has ended, and it was no token. */
  rest(): string {
    return this.#beginning.slice(this.#shown);
  }
}
