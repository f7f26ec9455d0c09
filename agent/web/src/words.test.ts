// What a visitor reads of each thing that can go wrong.
import { expect, it } from 'vitest';

import { SignInUnreachableError } from './auth';
import { inWords, WORDS } from './words';

it('has a whole sentence for every code', () => {
  expect(Object.values(WORDS).filter((words) => !/^[A-Z].*\.$/.test(words))).toEqual([]);
});

it.each([
  ['answer_cut_off', 'The answer was cut off. Please ask again.'],
  ['answer_too_long', 'too long'],
  ['busy', 'very busy'],
  ['failed', 'Something went wrong. Please try again.'],
  ['foreign_session', 'a new one was begun'],
  ['keys_unavailable', 'cannot be checked'],
  ['message_too_long', 'too long'],
  ['not_answered', 'could not answer'],
  ['overloaded', 'very busy'],
  ['session_busy', 'still being answered'],
  ['sign_in_ended', 'Your sign-in has ended'],
  ['silent', 'has not answered for too long'],
  ['unreachable', 'The assistant cannot be reached'],
  ['user_changed', 'Somebody else has signed in'],
  ["The agent's own sentence.", "The agent's own sentence."],
  ['constructor', 'constructor'],
])('says of %s: %s', (code, words) => expect(inWords(new Error(code))).toContain(words));

it('says that a member is still signed in while that cannot be checked', () => {
  const words = inWords(new SignInUnreachableError());
  expect(words).toMatch(/still signed in.*cannot be checked/);
});

it('says so if the connection was lost', () => {
  expect(inWords(new TypeError('failed to fetch'))).toContain('The connection was lost');
});
