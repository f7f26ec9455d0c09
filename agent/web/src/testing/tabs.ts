// A browser with several tabs in front of a Cognito that answers as it is told.
import { afterEach, beforeEach, expect, vi } from 'vitest';

import type { WebLocks } from '../auth/locks';
import { TokenRefresher } from '../auth/refresh';
import { SessionStore } from '../auth/session';
import type { Session } from '../auth/storage';
import { config, FakeStorage, fakeLocks, jwt, NOW, sessionOf } from './fakes';

export type Call = { operation: string; body: Record<string, string>; url: string };
export type Answer = (call: Call) => Response | Promise<Response>;

/** Have each test of a file begin at `NOW`, with timers that go as it says. */
export function fakeTime(): void {
  beforeEach(() => {
    const toFake = ['Date', 'setTimeout', 'clearTimeout'] as const;
    vi.useFakeTimers({ now: NOW, toFake: [...toFake] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });
}

/** Make a browser with one tab signed in; needs fake timers, whose clock `state.now` sets. */
export function world(changes: Partial<Session> = {}, skew = 0) {
  const state = {
    skew,
    answers: [] as Answer[],
    /** What answers once those are used up. */
    otherwise: (() => granted()) as Answer,
    get now() {
      return Date.now();
    },
    set now(at: number) {
      vi.setSystemTime(at);
    },
  };
  const now = () => state.now;
  const storage = new FakeStorage();
  const locks = fakeLocks();
  const calls: Call[] = [];
  const send: typeof fetch = async (input, init) => {
    const target = new Headers(init?.headers).get('x-amz-target') ?? '';
    expect(new Headers(init?.headers).get('content-type')).toBe('application/x-amz-json-1.1');
    const operation = target.split('.')[1] ?? '';
    expect(init?.signal).toBeInstanceOf(AbortSignal);
    expect(init?.keepalive).toBe(operation === 'RevokeToken');
    const call = { operation, body: JSON.parse(String(init?.body)), url: String(input) };
    calls.push(call);
    const aborted = new Promise<never>((_resolve, reject) => {
      init?.signal?.addEventListener('abort', () => reject(new DOMException('late', 'AbortError')));
    });
    aborted.catch(() => undefined);
    await new Promise((resolve) => setImmediate(resolve));
    const next = state.answers.shift() ?? state.otherwise;
    return Promise.race([aborted, next(call)]);
  };
  const granted = (result: object = {}) =>
    Response.json({
      AuthenticationResult: {
        AccessToken: jwt('ada', state.now + state.skew, 900, `n${calls.length}`),
        IdToken: jwt('ada', state.now + state.skew, 900, 'id2'),
        ExpiresIn: 900,
        ...result,
      },
    });
  const tab = (withLocks: boolean | WebLocks = true, tabStorage: Storage | null = storage) => {
    const store = new SessionStore({ storage: tabStorage, clientId: config.clientId });
    const options = { fetch: send, now, locks: withLocks === true ? locks : withLocks || null };
    return { store, refresher: new TokenRefresher(config, store, options) };
  };
  const refused = (type: string) => () => Response.json({ __type: type }, { status: 400 });
  const first = tab();
  first.store.save(sessionOf('ada', NOW, { accessToken: jwt('ada', NOW + skew), ...changes }));
  return { state, storage, locks, calls, tab, granted, refused, ...first };
}
