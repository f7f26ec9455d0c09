// A browser with several tabs in front of a Cognito that answers as it is told.
import { expect, vi } from 'vitest';

import { type Locks } from '../auth/locks';
import { TokenRefresher } from '../auth/refresh';
import { type Session, SessionStore } from '../auth/session';
import { config, FakeStorage, fakeLocks, jwt, sessionOf } from './fakes';

export const START = 1_790_000_000_000;

export type Call = { operation: string; body: Record<string, string>; url: string };
export type Answer = () => Response | Promise<Response>;

/** Needs fake timers: the clock is theirs, and `state.now` sets it. */
export function world(changes: Partial<Session> = {}, skew = 0) {
  const state = {
    skew,
    answers: [] as Answer[],
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
    calls.push({ operation, body: JSON.parse(String(init?.body)), url: String(input) });
    const aborted = new Promise<never>((_resolve, reject) => {
      init?.signal?.addEventListener('abort', () => reject(new DOMException('late', 'AbortError')));
    });
    aborted.catch(() => undefined);
    await new Promise((resolve) => setImmediate(resolve));
    const next = state.answers.shift() ?? granted;
    return Promise.race([aborted, next()]);
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
  const tab = (withLocks: boolean | Locks = true, tabStorage: Storage | null = storage) => {
    const store = new SessionStore({ storage: tabStorage, clientId: config.clientId });
    const options = { fetch: send, now, locks: withLocks === true ? locks : withLocks || null };
    return { store, refresher: new TokenRefresher(config, store, options) };
  };
  const refused =
    (type: string, status = 400) =>
    () =>
      Response.json({ __type: type }, { status });
  /** Tells all tabs that something is stored, as the browser does in its own time. */
  const told = (key: string | null = 'booking_session') =>
    globalThis.dispatchEvent(new StorageEvent('storage', { key }));
  const first = tab();
  first.store.save(sessionOf('ada', START, { accessToken: jwt('ada', START + skew), ...changes }));
  return { state, storage, locks, calls, tab, granted, refused, told, ...first };
}
