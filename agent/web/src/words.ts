// Says in words what went wrong.
import type { SignInUnreachableError } from './auth';
import { type ChatErrorCode, MAX_PROMPT_CHARS } from './chat';

type ErrorCode = ChatErrorCode | SignInUnreachableError['code'];

export const WORDS: Record<ErrorCode, string> = {
  answer_cut_off: 'The answer was cut off. Please ask again.',
  answer_too_long: 'The answer was too long and was cut off. Please ask for less at once.',
  busy: 'The assistant is very busy. Please try again in a few seconds.',
  failed: 'Something went wrong. Please try again.',
  foreign_session: 'This chat could not go on, so a new one was begun. Please ask again.',
  keys_unavailable: 'Your sign-in cannot be checked right now. Please try again.',
  message_too_long: `Your message is too long: ${MAX_PROMPT_CHARS} characters at most.`,
  not_answered: 'The assistant could not answer that. Please try again.',
  overloaded: 'The assistant is very busy. Please try again in a minute.',
  session_busy: 'The last message is still being answered. Please wait a moment.',
  sign_in_ended: 'Your sign-in has ended. Ask again to go on, and sign in when asked.',
  sign_in_unreachable:
    'You are still signed in, but this cannot be checked right now. Please try again soon.',
  silent: 'The assistant has not answered for too long. Please ask again.',
  unreachable: 'The assistant cannot be reached. Check your connection and try again.',
  user_changed: 'Somebody else has signed in, in another tab. Please ask again.',
};

/** Return what to tell the visitor of an error: its code's words, or the agent's own sentence. */
export function inWords(error: Error): string {
  if (error instanceof TypeError) {
    return 'The connection was lost. Please check it and send your message again.';
  }
  return Object.entries(WORDS).find(([code]) => code === error.message)?.[1] ?? error.message;
}
