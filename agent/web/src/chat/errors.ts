// What can go wrong in a chat, as codes; the page has the words.

/** The agent's own refusals that a visitor is told about, by its names for them. */
export const REFUSALS = ['busy', 'foreign_session', 'keys_unavailable', 'session_busy'] as const;

export type ChatErrorCode =
  | (typeof REFUSALS)[number]
  // There is no answer, or not a whole one.
  | 'answer_cut_off'
  | 'answer_too_long'
  | 'failed'
  | 'not_answered'
  | 'overloaded'
  | 'silent'
  | 'unreachable'
  // The message was not sent.
  | 'message_too_long'
  | 'sign_in_ended'
  | 'user_changed';

export class ChatError extends Error {
  override readonly name = 'ChatError';

  constructor(readonly code: ChatErrorCode) {
    super(code);
  }
}

/** Tell whether an error is the visitor's own wish: they have stopped the answer. */
export function isStop(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}
