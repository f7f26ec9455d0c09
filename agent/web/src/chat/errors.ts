// What can go wrong in a chat, as codes; the page has the words.

export type ChatErrorCode =
  // The agent refused, and said why.
  | 'busy'
  | 'foreign_session'
  | 'keys_unavailable'
  | 'session_busy'
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
