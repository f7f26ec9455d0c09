// Remembers the question that led to a login, so that it can be asked again once, signed in.

const ADDRESS = /[^\s@<>,;]+@[^\s@<>,;]+/gu;
/** How people hand over what was asked for; what is left beside it is the question. */
const INTRODUCTION =
  /\b(?:and\s+)?(?:my\s+)?(?:e-?mail(?:\s+address)?|address)(?:\s+is|\s*:)?|\b(?:and\s+)?(?:my\s+)?name(?:'s|\s+is|\s*:)|\b(?:i'?m|i am|it'?s|it is|this is|here(?: you go| it is)?|use|yes|ok(?:ay)?|sure|please|thanks?)(?=[\s,.:!]|$)/giu;

/** What an anonymous visitor asked, and which of it to ask again once they are signed in. */
export class QuestionMemory {
  #question: string | null = null;
  #latest: string | null = null;
  /** The agent itself has told which message needs a sign-in, so none is guessed any more. */
  #known = false;
  #loginPending = false;

  /** Note what an anonymous visitor asks. */
  asked(text: string): void {
    this.#latest = text;
    if (!this.#loginPending && !this.#known && isQuestion(text)) this.#question = text;
  }

  /** Note that the agent has asked for a sign-in because of the latest message. */
  neededSignIn(): void {
    if (this.#latest === null || !isQuestion(this.#latest)) return;
    this.#question = this.#latest;
    this.#known = true;
  }

  /** Note that from now on messages are about the code. */
  loginBegan(): void {
    this.#loginPending = true;
  }

  /** Return the question, and forget it. */
  take(): string | null {
    const question = this.#question;
    this.forget();
    return question;
  }

  forget(): void {
    this.#question = this.#latest = null;
    this.#loginPending = this.#known = false;
  }
}

/** Tell whether a message is more than an address, a name or a code. */
export function isQuestion(text: string): boolean {
  const rest = text.normalize('NFKC').replace(ADDRESS, ' ').replace(INTRODUCTION, ' ');
  const words = rest.match(/\p{L}[\p{L}\p{M}'’-]*/gu) ?? [];
  if (!/@/u.test(text)) return words.length > 0 && !/^[\d\s-]+$/u.test(text);
  // A name is written in capitals throughout, a question hardly ever.
  return words.length >= 2 && words.some((word) => /^\p{Ll}/u.test(word));
}
