// Refreshing keeps the visitor signed in over everything but Cognito's own refusal.
import { describe, expect, it, vi } from 'vitest';

import { lost } from '../testing/answers';
import {
  blockedStorage,
  config,
  denied,
  FakeStorage,
  jwt,
  NOW,
  sessionOf,
  tellStored,
} from '../testing/fakes';
import { type Answer, fakeTime, world } from '../testing/tabs';
import type { WebLocks } from './locks';
import { type Session, STORAGE_KEY } from './storage';

const due = 900_000 - 300_000;
const unreachable = { code: 'sign_in_unreachable' };

fakeTime();

/** Let time go by, with leave for what goes on in it. */
async function pass(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 50) {
    await vi.advanceTimersByTimeAsync(Math.min(left, 50));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Wait for an outcome while time goes by, and return it or throw it. */
async function after<T>(ms: number, outcome: Promise<T>): Promise<T> {
  outcome.catch(() => undefined);
  await pass(ms);
  return outcome;
}

describe('TokenRefresher', () => {
  it('leaves a young token alone and refreshes in the last third', async () => {
    const { state, calls, refresher, store } = world();
    state.now = NOW + due - 1;
    expect(await refresher.accessToken()).toBe(store.read()?.accessToken);
    expect(calls).toHaveLength(0);
    state.now = NOW + due;
    const fresh = await refresher.accessToken();
    expect(fresh).toContain('n1');
    expect(calls).toEqual([
      {
        operation: 'GetTokensFromRefreshToken',
        url: config.cognitoEndpoint,
        body: { RefreshToken: sessionOf('ada', NOW).refreshToken, ClientId: 'client' },
      },
    ]);
    expect(store.read()).toMatchObject({ accessToken: fresh, expiresAt: NOW + due + 900_000 });
  });

  it.each([
    [3600, 300_000],
    [600, 200_000],
  ])('refreshes a token that lives %i s no more than %i ms before its end', async (life, lead) => {
    const accessToken = jwt('ada', NOW, life);
    const expiresAt = NOW + life * 1000;
    const { state, calls, refresher } = world({ accessToken, expiresAt });
    state.now = expiresAt - lead - 1;
    await refresher.accessToken();
    expect(calls).toHaveLength(0);
    state.now += 1;
    await refresher.accessToken();
    expect(calls).toHaveLength(1);
  });

  it.each([600_000, -600_000])('does not mind a clock that is %i ms off', async (skew) => {
    const { state, calls, refresher, store } = world({}, skew);
    await refresher.accessToken();
    expect(calls).toHaveLength(0);
    state.now = NOW + due;
    await refresher.accessToken();
    await refresher.accessToken();
    expect(calls).toHaveLength(1);
    expect(store.read()?.expiresAt).toBe(NOW + due + 900_000);
  });

  it.each([true, false])('asks once for all callers (Web Locks: %s)', async (withLocks) => {
    const { state, calls, tab } = world();
    state.now = NOW + due;
    const first = tab(withLocks);
    const others = withLocks ? [tab(), tab()] : [first, first];
    const all = [first, ...others].map(({ refresher }) => refresher.accessToken());
    expect(new Set(await Promise.all(all)).size).toBe(1);
    expect(calls).toHaveLength(1);
  });

  it('asks once for a message and for one that was refused, without Web Locks too', async () => {
    const { state, calls, store, tab } = world();
    const { refresher } = tab(false);
    const old = store.read()?.accessToken ?? '';
    state.now = NOW + due;
    const both = await Promise.all([refresher.accessToken(), refresher.forceRefresh(old)]);
    expect(both).toEqual(Array(2).fill(expect.stringContaining('n1')));
    expect(calls).toHaveLength(1);
  });

  it.each([
    ['by days', 3 * 86_400_000],
    ['by more than a minute', 60_001],
  ])('refreshes a token under a clock that was set back %s', async (_name, by) => {
    const { state, calls, refresher } = world();
    state.now = NOW - by;
    expect(await refresher.accessToken()).toContain('n1');
    expect(calls).toHaveLength(1);
  });

  it('leaves it alone under a clock that was set back as clocks are corrected', async () => {
    const { state, calls, refresher, store } = world();
    const changed = vi.fn();
    const stop = store.subscribe(changed);
    state.now = NOW - 60_000;
    await refresher.accessToken();
    store.catchUp();
    expect([calls, changed.mock.calls]).toEqual([[], []]);
    stop();
  });

  it('uses a token whose end is in doubt while Cognito is away', async () => {
    const { state, refresher, store } = world();
    const token = store.read()?.accessToken;
    state.now = NOW - 300_000;
    state.answers.push(() => new Response('busy', { status: 503 }));
    expect(await refresher.accessToken()).toBe(token);
  });

  it('ends a session that the storage does not let go of', async () => {
    const { state, storage, refused, refresher, store, calls } = world();
    Object.assign(storage, { setItem: () => undefined, removeItem: () => undefined });
    state.now = NOW + due;
    state.answers.push(refused('NotAuthorizedException'));
    expect(await refresher.accessToken()).toBeNull();
    expect([store.read(), calls.length]).toEqual([null, 1]);
  });

  it('keeps a rotated refresh token, and the old one if there is none', async () => {
    const { state, granted, refresher, store } = world();
    state.now = NOW + due;
    state.answers.push(() => granted({ RefreshToken: 'rotated' }));
    await refresher.accessToken();
    expect(store.read()?.refreshToken).toBe('rotated');
    state.now += due;
    state.answers.push(() => granted({ RefreshToken: '' }));
    await refresher.accessToken();
    expect(store.read()?.refreshToken).toBe('rotated');
  });

  it.each([
    ['NotAuthorizedException', due, 0],
    ['com.example#RefreshTokenReuseException', 900_000, 11_000],
  ])('ends the session on %s', async (type, at, ms) => {
    const { state, refused, refresher, store } = world();
    const reasons: unknown[] = [];
    store.subscribe((change) => reasons.push(change.signedOutReason));
    state.now = NOW + at;
    state.answers.push(refused(type));
    expect(await after(ms, refresher.accessToken())).toBeNull();
    expect(store.read()).toBeNull();
    expect(reasons).toEqual(['expired']);
  });

  it('goes on with the token of a session that another tab may be about to renew', async () => {
    const { state, refused, refresher, store } = world();
    state.now = NOW + due;
    state.answers.push(refused('RefreshTokenReuseException'));
    expect(await refresher.accessToken()).toBe(store.read()?.accessToken);
    expect(store.read()?.sub).toBe('ada');
  });

  const troubles: [string, () => Response][] = [
    ['no network', lost],
    ['a 503', () => new Response('busy', { status: 503 })],
    ['throttling', () => Response.json({ __type: 'TooManyRequestsException' }, { status: 400 })],
    ['a proxy page', () => new Response('<html>', { status: 200 })],
    ['no tokens', () => Response.json({ AuthenticationResult: null })],
  ];
  it.each(troubles)('uses the old token over %s, while it lasts', async (_name, trouble) => {
    const { state, refresher, store } = world();
    const old = store.read()?.accessToken ?? '';
    state.now = NOW + due;
    state.answers.push(...Array<Answer>(7).fill(trouble));
    expect(await refresher.accessToken()).toBe(old);
    await expect(after(2_000, refresher.forceRefresh(old))).rejects.toMatchObject(unreachable);
    state.now = NOW + 900_000;
    await expect(after(2_000, refresher.accessToken())).rejects.toMatchObject(unreachable);
    expect(state.answers).toEqual([]);
    expect(store.read()?.sub).toBe('ada');
    expect(await refresher.accessToken()).not.toBe(old);
  });

  it('takes the newer token of another tab instead of asking', async () => {
    const { calls, refresher, tab } = world();
    const newer = jwt('ada', NOW, 900, 'newer');
    const rejected = (await refresher.accessToken()) ?? '';
    tab().store.save(sessionOf('ada', NOW, { accessToken: newer }));
    expect(await refresher.forceRefresh(rejected)).toBe(newer);
    expect(calls).toHaveLength(0);
  });

  it('stores nothing for a session that is over, and revokes what it got', async () => {
    const { state, calls, granted, refresher, store } = world();
    state.now = NOW + due;
    const grace = sessionOf('grace', state.now);
    state.answers.push(() => {
      store.save(grace);
      return granted({ RefreshToken: 'rotated' });
    });
    expect(await refresher.accessToken()).toBe(grace.accessToken);
    expect(store.read()).toEqual(grace);
    expect(calls.at(-1)).toMatchObject({ operation: 'RevokeToken', body: { Token: 'rotated' } });
  });

  it('leaves a newer sign-in of the same user alone, also where its own token is refused', async () => {
    const { state, calls, granted, refused, refresher, store } = world();
    state.now = NOW + due;
    const again = sessionOf('ada', state.now, { refreshToken: 'of the new sign-in' });
    const old = store.read();
    const rotated = () => granted({ RefreshToken: 'rotated' });
    for (const answer of [granted, rotated, refused('NotAuthorizedException')]) {
      if (old) store.save(old);
      state.answers.push(() => {
        store.save(again);
        return answer();
      });
      expect(await refresher.accessToken()).toBe(again.accessToken);
      expect(store.read()).toEqual(again);
    }
    expect(calls.map(({ operation }) => operation)).not.toContain('RevokeToken');
  });

  it("ends the session if the answer is another user's", async () => {
    const { state, granted, refresher, store } = world();
    state.now = NOW + due;
    state.answers.push(() => granted({ AccessToken: jwt('grace', NOW) }));
    expect(await refresher.accessToken()).toBeNull();
    expect(store.read()).toBeNull();
  });

  it('signs out at once, whatever a refresh under way brings, even if revoking fails', async () => {
    const { state, calls, granted, refresher, store, tab } = world();
    const old = store.read()?.refreshToken;
    let signedInWhileRevoking: Session | null | undefined;
    let arrive = () => {};
    state.now = NOW + due;
    state.answers.push(
      async () => {
        await new Promise<void>((resolve) => (arrive = resolve));
        return granted({ RefreshToken: 'rotated' });
      },
      () => {
        signedInWhileRevoking = store.read();
        throw new TypeError('failed');
      },
    );
    const refreshed = refresher.accessToken();
    await vi.waitFor(() => expect(calls).toHaveLength(1));
    const signedOut = tab().refresher.signOut();
    expect([store.read(), calls.length]).toEqual([null, 2]);
    await signedOut;
    arrive();
    expect(await refreshed).toBeNull();
    expect(calls.map(({ operation, body }) => [operation, body.Token])).toEqual([
      ['GetTokensFromRefreshToken', undefined],
      ['RevokeToken', old],
      ['RevokeToken', 'rotated'],
    ]);
    expect(signedInWhileRevoking).toBeNull();
    expect(store.read()).toBeNull();
  });

  it('revokes what a refresh brings after its sign-out, also if the same user is back', async () => {
    const { state, calls, granted, refresher, store, tab } = world();
    const again = sessionOf('ada', NOW + due, { refreshToken: 'of the new sign-in' });
    state.now = NOW + due;
    state.answers.push(async () => {
      void tab().refresher.signOut();
      store.save(again);
      return granted({ RefreshToken: 'rotated' });
    });
    expect(await refresher.accessToken()).toBe(again.accessToken);
    expect(calls.at(-1)).toMatchObject({ operation: 'RevokeToken', body: { Token: 'rotated' } });
    expect(store.read()).toEqual(again);
  });

  it("signs out whom the tab shows, not who has signed in since in another one's place", async () => {
    const { calls, storage, store, tab } = world();
    const ada = store.read();
    const grace = sessionOf('grace', NOW);
    const here = tab();
    const heard: unknown[] = [];
    here.store.subscribe(({ current }) => heard.push(current?.sub));
    tab(true, storage).store.save(grace); // its storage event is late
    await here.refresher.signOut();
    expect([store.read(), heard]).toEqual([grace, ['grace']]);
    expect(calls.map(({ body }) => body.Token)).toEqual([ada?.refreshToken]);
  });

  it('signs out though a listener throws, and tells Cognito', async () => {
    const report = vi.fn();
    vi.stubGlobal('reportError', report);
    const { calls, refresher, store } = world();
    store.subscribe(() => {
      throw new Error('its own');
    });
    await refresher.signOut();
    expect([store.read(), calls.length, report.mock.calls.length]).toEqual([null, 1, 1]);
    vi.unstubAllGlobals();
  });

  it('has no token for nobody', async () => {
    const { refresher, store } = world();
    store.signOut();
    expect([await refresher.accessToken(), await refresher.forceRefresh('x')]).toEqual([
      null,
      null,
    ]);
  });
});

describe('Web Locks', () => {
  const rejecting = async () => denied();
  const refusing: [string, WebLocks['request']][] = [
    ['reject', rejecting],
    ['resolve and call nobody', (async () => undefined) as WebLocks['request']],
    ['throw', denied],
  ];
  it.each(refusing)(
    'that %s are done without, and two callers ask once',
    async (_name, request) => {
      const { state, calls, tab } = world();
      const { refresher } = tab({ request });
      state.now = NOW + 900_000;
      const tokens = await Promise.all([refresher.accessToken(), refresher.accessToken()]);
      expect(tokens).toEqual([expect.stringContaining('n1'), tokens[0]]);
      expect(calls).toHaveLength(1);
      const [rejected = ''] = tokens as string[];
      const others = [refresher.forceRefresh(rejected), refresher.forceRefresh(rejected)];
      expect(await Promise.all(others)).toEqual(Array(2).fill(expect.stringContaining('n2')));
      expect(calls).toHaveLength(2);
    },
  );

  it('and all storage blocked: a message goes through after a quarter of an hour', async () => {
    const { state, tab } = world();
    const { refresher, store } = tab({ request: rejecting }, blockedStorage());
    store.save(sessionOf('ada', NOW));
    state.now = NOW + 901_000;
    expect(await refresher.accessToken()).toContain('n1');
    state.now += 901_000;
    expect(await refresher.accessToken()).toContain('n2');
    await refresher.signOut();
    expect(store.read()).toBeNull();
  });

  it('held by a frozen tab are waited for some seconds while the old token lasts', async () => {
    const { state, calls, locks, tab, refresher } = world();
    void locks.request('its', {}, () => new Promise(() => {}));
    state.now = NOW + due;
    const asked = refresher.accessToken();
    await pass(2_000);
    expect(calls).toHaveLength(0);
    expect(await after(7_000, asked)).toContain('n1');
    state.now += due;
    const other = tab().refresher;
    expect(await after(9_000, other.accessToken())).toContain('n2');
    expect(calls).toHaveLength(2);
  });

  it('held by a frozen tab are not waited for once the old token is over', async () => {
    const { state, calls, locks, refresher } = world();
    void locks.request('its', {}, () => new Promise(() => {}));
    state.now = NOW + 900_000;
    const token = await after(200, refresher.accessToken());
    expect(token).toContain('n1');
    expect(await after(200, refresher.forceRefresh(token ?? ''))).toContain('n2');
    expect(calls).toHaveLength(2);
  });

  it('held by a tab that is asking right now are waited for, the old token over or not', async () => {
    const { state, calls, granted, refresher, tab } = world();
    let arrive = () => {};
    state.now = NOW + 900_000;
    state.answers.push(async () => {
      await new Promise<void>((resolve) => (arrive = resolve));
      return granted();
    });
    const here = refresher.accessToken();
    await vi.waitFor(() => expect(calls).toHaveLength(1));
    const there = tab().refresher.accessToken();
    await pass(2_000);
    expect(calls).toHaveLength(1);
    arrive();
    expect(await there).toBe(await here);
    expect(calls).toHaveLength(1);
  });
});

describe('a lost answer', () => {
  const late = (answer: () => Response) => () =>
    new Promise<Response>((resolve) => setTimeout(() => resolve(answer()), 6_000));

  it('is asked for again within the grace period, with the same refresh token', async () => {
    const { state, calls, granted, refresher, store } = world();
    const old = store.read();
    state.now = NOW + due;
    state.answers.push(lost, lost, lost, () => granted({ RefreshToken: 'rotated' }));
    expect(await refresher.accessToken()).toBe(old?.accessToken);
    await pass(45_000);
    expect(calls.map(({ body }) => body.RefreshToken)).toEqual(Array(4).fill(old?.refreshToken));
    expect(store.read()).toMatchObject({ refreshToken: 'rotated' });
  });

  it('of a refresh that a refusal asked for is asked for again too', async () => {
    const { state, calls, granted, refresher, store } = world();
    const old = store.read()?.accessToken ?? '';
    state.answers.push(lost, lost, lost, () => granted({ RefreshToken: 'rotated' }));
    await expect(after(2_000, refresher.forceRefresh(old))).rejects.toMatchObject(unreachable);
    await pass(45_000);
    expect(calls).toHaveLength(4);
    expect(store.read()).toMatchObject({ refreshToken: 'rotated' });
  });

  it.each([
    ['a blip', lost],
    ['an answer that took 6 s', late(() => Response.json({}))],
  ])('is not the end of a message: %s', async (_name, trouble) => {
    const { state, refresher } = world();
    state.now = NOW + 900_000;
    state.answers.push(trouble);
    expect(await after(10_500, refresher.accessToken())).toContain('n2');
    state.answers.push(trouble);
    const rejected = (await refresher.accessToken()) ?? '';
    expect(await after(10_500, refresher.forceRefresh(rejected))).toContain('n4');
  });

  it('keeps a message waiting for no longer than eleven seconds', async () => {
    const { state, calls, refresher } = world();
    state.now = NOW + 900_000;
    state.answers.push(...Array<Answer>(9).fill(late(() => Response.json({}))));
    await expect(after(11_000, refresher.accessToken())).rejects.toMatchObject(unreachable);
    expect(calls).toHaveLength(2);
  });

  it('is asked for no more once the visitor has signed out', async () => {
    const { state, calls, refresher, store } = world();
    state.now = NOW + 900_000;
    state.answers.push(lost, lost, lost);
    const asked = refresher.accessToken();
    await pass(100);
    store.signOut();
    expect(await after(60_000, asked)).toBeNull();
    expect(calls).toHaveLength(1);
  });

  it('is asked for at once when the network is back', async () => {
    const { state, calls, refresher } = world();
    state.answers.push(lost, lost, lost, lost);
    const stop = refresher.keepFresh();
    await pass(due + 21_000);
    expect(calls).toHaveLength(4);
    globalThis.dispatchEvent(new Event('online'));
    await pass(2_000);
    expect(calls).toHaveLength(5);
    stop();
  });

  it('is all that is asked for without need, unless the token is to be kept fresh', async () => {
    const { state, calls, refresher } = world();
    state.now = NOW + due;
    state.answers.push(lost);
    await refresher.accessToken();
    await vi.advanceTimersByTimeAsync(7_200_000);
    expect(calls).toHaveLength(2);
  });

  it('is not asked for without end', async () => {
    const { state, calls, refresher } = world();
    state.answers.push(...Array<Answer>(999).fill(lost));
    const stop = refresher.keepFresh();
    await vi.advanceTimersByTimeAsync(86_400_000);
    expect(calls.length).toBeGreaterThan(4);
    expect(calls.length).toBeLessThan(20);
    state.answers.length = 0;
    const before = calls.length;
    globalThis.dispatchEvent(new Event('online'));
    await pass(2_000);
    expect(calls).toHaveLength(before + 1);
    stop();
  });
});

describe('while nobody asks', () => {
  it('refreshes ahead of the end, once for all tabs', async () => {
    const { calls, store, tab } = world();
    const stops = [tab(), tab(), tab()].map(({ refresher }) => refresher.keepFresh());
    await vi.advanceTimersByTimeAsync(due - 1);
    expect(calls).toHaveLength(0);
    await pass(1_000);
    expect(calls).toHaveLength(1);
    tellStored();
    for (let hour = 0; hour < 6; hour += 1) {
      await pass(due);
      tellStored();
    }
    expect(calls).toHaveLength(7);
    expect(store.read()?.accessToken).toContain('n7');
    for (const stop of stops) stop();
    await vi.advanceTimersByTimeAsync(86_400_000);
    expect(calls).toHaveLength(7);
  });

  it('keeps fresh who signs in later', async () => {
    const { state, calls, refresher, store } = world();
    store.signOut();
    const stop = refresher.keepFresh();
    await pass(1_000);
    store.save(sessionOf('ada', state.now));
    await pass(due);
    expect(calls).toHaveLength(1);
    stop();
  });

  it('refreshes as soon as it wakes under a clock that was set back', async () => {
    const { state, calls, refresher } = world();
    const stop = refresher.keepFresh();
    state.now = NOW - 600_000;
    globalThis.dispatchEvent(new Event('focus'));
    await pass(2_000);
    expect(calls).toHaveLength(1);
    stop();
  });

  it('does not wait for a time that a fast clock has told', async () => {
    const { state, calls, refresher, tab } = world();
    state.now = NOW + 3_600_000;
    const stop = refresher.keepFresh();
    await pass(1_000);
    expect(calls).toHaveLength(1);
    state.now = NOW;
    tab().store.save(sessionOf('ada', NOW + 3_600_000));
    tellStored();
    await pass(61_000);
    expect(calls).toHaveLength(2);
    stop();
  });

  it('goes on for who still wants that', async () => {
    const { calls, refresher } = world();
    const stop = refresher.keepFresh();
    const stopAnother = refresher.keepFresh();
    stop();
    stop();
    await pass(due);
    expect(calls).toHaveLength(1);
    stopAnother();
    await pass(due);
    expect(calls).toHaveLength(1);
  });

  it('notices that the sign-in has ended', async () => {
    const { state, refused, refresher, store } = world();
    const reasons: unknown[] = [];
    store.subscribe((change) => reasons.push(change.signedOutReason));
    const stop = refresher.keepFresh();
    state.answers.push(refused('NotAuthorizedException'));
    await pass(due);
    expect([store.read(), reasons]).toEqual([null, ['expired']]);
    stop();
  });

  it.each([
    ['pageshow', globalThis],
    ['focus', globalThis],
    ['visibilitychange', document],
  ])('looks again at %s, after a sleep that stopped all timers', async (event, target) => {
    const { state, calls, refresher } = world();
    const stop = refresher.keepFresh();
    state.now = NOW + 3_600_000;
    target.dispatchEvent(new Event(event));
    await pass(2_000);
    expect(calls).toHaveLength(1);
    stop();
  });

  it('goes on after a blip that another tab has got over', async () => {
    const { state, calls, refresher, tab } = world();
    const stop = refresher.keepFresh();
    state.answers.push(lost);
    await pass(due + 500);
    await tab().refresher.accessToken();
    expect(calls).toHaveLength(2);
    await pass(3_000); // what was lost may have been the newer one
    expect(calls).toHaveLength(3);
    await pass(due + 3_000);
    expect(calls).toHaveLength(4);
    stop();
  });

  it('rests after a token whose life makes no sense', async () => {
    const { state, calls, granted, refresher } = world();
    const short = () => granted({ AccessToken: jwt('ada', NOW, 0.001) });
    state.answers.push(...Array<Answer>(99).fill(short));
    const stop = refresher.keepFresh();
    await pass(due + 60_000);
    expect(calls.length).toBeGreaterThan(1);
    expect(calls.length).toBeLessThan(5);
    stop();
  });
});

describe("what is another's", () => {
  it('a sign-out between the check and the write of a refresh is not undone', async () => {
    const { state, storage, calls, granted, refresher, store, tab } = world();
    state.now = NOW + due;
    storage.beforeSet = (key) => {
      if (key !== STORAGE_KEY) return;
      storage.beforeSet = null;
      void tab().refresher.signOut();
    };
    state.answers.push(() => granted({ RefreshToken: 'rotated' }));
    expect(await refresher.accessToken()).toBeNull();
    expect([store.read(), storage.getItem(STORAGE_KEY)]).toEqual([null, null]);
    expect(calls.slice(1).map(({ body }) => body.Token)).toEqual([
      sessionOf('ada', NOW).refreshToken,
      'rotated',
    ]);
  });

  it('a write that arrives after the sign-out is nobody signed in, and goes', async () => {
    const { storage, store } = world();
    const written = storage.getItem(STORAGE_KEY) ?? '';
    const stop = store.subscribe(() => undefined);
    store.signOut();
    storage.setItem(STORAGE_KEY, written);
    expect(store.read()).toBeNull();
    tellStored();
    expect(storage.getItem(STORAGE_KEY)).toBeNull();
    stop();
  });

  it('what a newer page keeps in the session survives a refresh', async () => {
    const { state, storage, refresher } = world();
    const newer = { ...sessionOf('ada', NOW), loyalty: { level: 'gold' } };
    storage.setItem(STORAGE_KEY, JSON.stringify(newer));
    state.now = NOW + due;
    await refresher.accessToken();
    expect(JSON.parse(storage.getItem(STORAGE_KEY) ?? '')).toMatchObject({
      loyalty: { level: 'gold' },
      accessToken: expect.stringContaining('n1'),
    });
  });

  it('a tab whose storage is full refreshes for itself, and signs nobody else out', async () => {
    const { state, storage, store, tab } = world();
    const full = new FakeStorage(storage.items);
    const here = tab(true, full);
    full.failing = true;
    state.now = NOW + due;
    const before = store.read();
    expect(await here.refresher.accessToken()).toContain('n1');
    expect(store.read()).toEqual(before);
    state.now += due;
    expect(await here.refresher.accessToken()).toContain('n2');
    await here.refresher.signOut();
    expect([here.store.read(), store.read()]).toEqual([null, null]);
  });

  it('a token handed out after a refusal is fresh', async () => {
    const { state, calls, refresher, tab } = world();
    const rejected = (await refresher.accessToken()) ?? '';
    const over = { accessToken: jwt('ada', NOW, 900, 'older'), expiresAt: NOW + 1 };
    tab().store.save(sessionOf('ada', NOW, over));
    state.now = NOW + 2;
    expect(await refresher.forceRefresh(rejected)).toContain('n1');
    expect(calls).toHaveLength(1);
  });
});
