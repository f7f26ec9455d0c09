// Which message is asked again after a sign-in.
import { describe, expect, it } from 'vitest';

import { isQuestion, QuestionMemory } from './question';

describe('isQuestion', () => {
  it.each([
    'ada@example.com',
    'My e-mail is ada@example.com',
    "It's ada@example.com, Ada Lovelace",
    "I'm Ada Lovelace, my email address is ada@example.com.",
    'my name is Ada Lovelace and my e-mail: ada@example.com',
    '123456',
    '12 34 56',
  ])('is none: %s', (text) => expect(isQuestion(text)).toBe(false));

  it.each([
    'Show my bookings',
    "I'm ada@example.com, show my bookings",
    'ada@example.com what did I book for May?',
    '我的预订',
  ])('is one: %s', (text) => expect(isQuestion(text)).toBe(true));
});

describe('QuestionMemory', () => {
  it('takes the one before the login began, once', () => {
    const memory = new QuestionMemory();
    memory.asked('When is breakfast?');
    memory.asked('Show my bookings');
    memory.asked('ada@example.com');
    memory.loginBegan();
    memory.asked('It did not arrive, please send it again');
    memory.asked('123456');
    expect([memory.take(), memory.take()]).toEqual(['Show my bookings', null]);
  });

  it('takes the one that the agent says needed a sign-in, whatever is said on the way', () => {
    const memory = new QuestionMemory();
    memory.asked('Show my bookings');
    memory.neededSignIn();
    memory.asked('Ada Lovelace');
    memory.asked('Is that safe? I am ada@example.com by the way');
    memory.loginBegan();
    expect(memory.take()).toBe('Show my bookings');
    memory.asked('And my bill?');
    expect(memory.take()).toBe('And my bill?');
  });

  it('takes one message that both asks and introduces', () => {
    const memory = new QuestionMemory();
    memory.asked('When is breakfast?');
    memory.asked("I'm ada@example.com, show my bookings");
    memory.loginBegan();
    expect(memory.take()).toBe("I'm ada@example.com, show my bookings");
  });
});
