// Finds what looks like a token where none belongs: a belt beside the braces.

const MASK = '[hidden]';
/** A text is held back no further: what goes on for longer is no word. */
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

/** Says whether a value that JSON can have holds a token anywhere, or a field that is for one. */
export function holdsToken(value: unknown): boolean {
  const json = JSON.stringify(value) ?? '';
  return FIELD.test(json) || isLikeToken(json);
}

export function isLikeToken(text: string): boolean {
  return TOKEN.test(text);
}

/** Puts a mask in the place of each token in a text. */
export function maskTokens(text: string): string {
  const mask = new TextMask();
  return mask.next(text) + mask.rest();
}

/**
 * Does the same to a text that comes in pieces, between any of which a token may be split.
 *
 * Holds back from `eyJ` on until it is clear what that is, and thus hardly ever anything.
 */
export class TextMask {
  /** What the text ends with, if that may be a token's beginning. */
  #beginning = '';
  /** How much of it was shown, before it looked like that. */
  #shown = 0;
  #inToken: boolean;

  /** @param inToken - A text before this one ended within what may go on here. */
  constructor(inToken = false) {
    this.#inToken = inToken;
  }

  /** Whether the text ends within what may be a token. */
  get inToken(): boolean {
    return this.#inToken || this.#beginning.startsWith('eyJ');
  }

  /** Takes the next piece and returns what may be shown. */
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

  /** Returns what was held back: the text has ended, and it was none. */
  rest(): string {
    return this.#beginning.slice(this.#shown);
  }
}
