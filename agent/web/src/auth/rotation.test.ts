// Tabs that refresh at once keep the newest refresh token, and a sign-out ends all of them.
import { describe, expect, it, vi } from 'vitest';

import { lost } from '../testing/answers';
import { NOW, sessionOf } from '../testing/fakes';
import { LaggingStorage, RotatingCognito } from '../testing/rotation';
import { type Answer, fakeTime, world } from '../testing/tabs';

const due = 900_000 - 300_000;
const overGrace = 61_000;

fakeTime();

/** Let time go by, from timer to timer, with leave for what goes on in between. */
async function pass(ms: number): Promise<void> {
  const until = Date.now() + ms;
  const turn = async () => {
    for (let i = 0; i < 4; i += 1) await new Promise((resolve) => setImmediate(resolve));
  };
  // A timer that stands for the end, so that none is run beyond it.
  let over = false;
  setTimeout(() => (over = true), ms);
  for (await turn(); !over; await turn()) await vi.advanceTimersToNextTimerAsync();
  vi.setSystemTime(until);
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Make tabs without Web Locks, all of whose tokens are due, in front of a Cognito that rotates. */
function tabs(count: number) {
  const here = world();
  const cognito = new RotatingCognito(here.store.read()?.refreshToken ?? '');
  here.state.otherwise = (call) => cognito.answer(call);
  here.state.now = NOW + due;
  /** Answer as Cognito does, after so long; `lost` where the answer does not arrive. */
  const answered =
    (afterMs: number, outcome?: typeof lost): Answer =>
    async (call) => {
      const answer = cognito.answer(call);
      await sleep(afterMs);
      return outcome ? outcome() : answer;
    };
  const all = Array.from({ length: count }, () => here.tab(false));
  const isKept = async (): Promise<void> => {
    expect(here.store.read()?.refreshToken).toBe(cognito.newest);
    await pass(overGrace);
    here.state.now += due;
    for (const { refresher } of all) expect(await refresher.accessToken()).not.toBeNull();
    expect(here.store.read()?.refreshToken).toBe(cognito.newest);
  };
  return { ...here, cognito, answered, all, isKept };
}

describe('two successors of one refresh token', () => {
  it.each([
    ['the older one is stored first', [10, 20]],
    ['the newer one is stored first', [20, 10]],
    ['1-2-3', [10, 20, 30]],
    ['1-3-2', [10, 30, 20]],
    ['2-1-3', [20, 10, 30]],
    ['2-3-1', [30, 10, 20]],
    ['3-1-2', [20, 30, 10]],
    ['3-2-1', [30, 20, 10]],
  ])('leave everybody signed in: %s', async (_name, delays) => {
    const { state, all, answered, isKept } = tabs(delays.length);
    state.answers.push(...delays.map((delay) => answered(delay)));
    const tokens = all.map(({ refresher }) => refresher.accessToken());
    await pass(1_000);
    for (const token of await Promise.all(tokens)) expect(token).not.toBeNull();
    await isKept();
  });

  it.each([
    ['the newer one is lost', 2],
    ['and so is the next answer', 3],
    ['and so are the next two', 4],
  ])('leave everybody signed in: %s', async (_name, losses) => {
    const { state, all, answered, isKept } = tabs(2);
    state.answers.push(answered(10), ...Array(losses - 1).fill(answered(20, lost)));
    for (const { refresher } of all) void refresher.accessToken();
    await pass(30_000);
    await isKept();
  });

  it('leave everybody signed in: the answer after the newer one is lost', async () => {
    const { state, all, answered, isKept } = tabs(2);
    state.answers.push(answered(10), answered(20), answered(20, lost));
    for (const { refresher } of all) void refresher.accessToken();
    await pass(30_000);
    await isKept();
  });

  it('leave everybody signed in: a call is lost on its way, and the grace period goes by', async () => {
    const { state, all, answered, isKept } = tabs(2);
    state.answers.push(answered(10), ...Array<Answer>(5).fill(lost));
    for (const { refresher } of all) void refresher.accessToken();
    await pass(overGrace * 2);
    await isKept();
  });

  it('leave everybody signed in: the older one is used before the newer one arrives', async () => {
    const { state, all, answered, isKept } = tabs(2);
    state.answers.push(answered(10), answered(1_000));
    const [first, second] = all.map(({ refresher }) => refresher);
    const token = first?.accessToken();
    void second?.accessToken();
    await pass(100);
    const another = first?.forceRefresh((await token) ?? '');
    await pass(6_000);
    expect(await another).not.toBeNull();
    await isKept();
  });

  it('leave everybody signed in: one write overtakes the other, unseen', async () => {
    const { state, storage, cognito, tab } = tabs(0);
    const hub: LaggingStorage[] = [];
    const [first, second] = [1, 2].map(() => tab(false, new LaggingStorage(hub, 5, storage.items)));
    state.answers.push(
      async (call) => {
        await sleep(10);
        const answer = cognito.answer(call);
        await sleep(10);
        return answer; // made second, stored first
      },
      async (call) => {
        const answer = cognito.answer(call);
        await sleep(22);
        return answer;
      },
    );
    void first?.refresher.accessToken();
    void second?.refresher.accessToken();
    await pass(40_000);
    for (const { store } of [first, second].filter((each) => !!each)) {
      expect(store.read()?.refreshToken).toBe(cognito.newest);
    }
  });
});

describe('a tab in doubt', () => {
  it('takes its turn among those that hold the lock', async () => {
    const { state, calls, locks, refresher, tab } = tabs(0);
    state.answers.push(lost);
    await refresher.accessToken();
    await tab().refresher.accessToken();
    void locks.request('its', {}, () => sleep(2_500));
    await pass(2_000);
    expect(calls).toHaveLength(2);
    await pass(2_000);
    expect(calls).toHaveLength(3);
  });

  it('asks with no token of an older sign-in', async () => {
    const { state, calls, refused, refresher, store } = tabs(0);
    await refresher.accessToken();
    store.save(sessionOf('ada', NOW, { refreshToken: 'of the new sign-in' }));
    state.answers.push(refused('RefreshTokenReuseException'));
    await refresher.accessToken();
    expect(calls.map(({ body }) => body.RefreshToken).slice(1)).toEqual(['of the new sign-in']);
  });
});

describe('a sign-out ends the sign-in at Cognito', () => {
  it.each([
    ['the newer successor arrives after it', undefined],
    ['the newer successor is lost', lost],
  ])('though the stored token has a newer sibling: %s', async (_name, outcome) => {
    const { state, store, all, answered, cognito } = tabs(2);
    state.answers.push(answered(10), answered(500, outcome));
    for (const { refresher } of all) void refresher.accessToken();
    await pass(100);
    void all[0]?.refresher.signOut();
    await pass(30_000);
    expect([store.read(), cognito.revoked]).toEqual([null, true]);
  });

  it('though this tab has not heard of the last refresh before another user signed in', async () => {
    const { state, store, tab, all, cognito } = tabs(1);
    await all[0]?.refresher.accessToken();
    const here = tab();
    here.store.subscribe(() => undefined);
    state.now += due;
    await all[0]?.refresher.accessToken();
    store.save(sessionOf('grace', state.now));
    await here.refresher.signOut();
    expect([store.read()?.sub, cognito.revoked]).toEqual(['grace', true]);
  });
});

describe('tabs that do as they like', () => {
  /** Return numbers from 0 to 1, always the same ones for a seed. */
  function random(seed: number): () => number {
    let state = seed;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  async function play(seed: number): Promise<void> {
    const next = random(seed);
    const upTo = (most: number) => Math.floor(next() * most);
    const here = world();
    const cognito = new RotatingCognito(here.store.read()?.refreshToken ?? '');
    const slowest = upTo(2) ? 5 : 1_000;
    let losing = false;
    here.state.otherwise = async (call) => {
      const [there, back] = [upTo(slowest), upTo(slowest)];
      const fate = losing && call.operation !== 'RevokeToken' ? next() : 1;
      await sleep(there);
      if (fate < 0.1) lost();
      const answer = cognito.answer(call);
      await sleep(back);
      return fate < 0.2 ? lost() : answer;
    };
    const hub: LaggingStorage[] = [];
    const all = Array.from({ length: 2 + upTo(2) }, () => {
      const storage = new LaggingStorage(hub, upTo(10), here.storage.items);
      return here.tab(upTo(3) === 0, storage);
    });
    const stops = all.map(({ refresher }) => refresher.keepFresh());
    const kept = () => all.map(({ store }) => store.read()?.refreshToken);
    const everybody = (token: string) => all.map(() => token);
    const one = () => all[upTo(all.length)] ?? here;

    for (let round = 0; round < 3; round += 1) {
      await pass((all[0]?.store.read()?.expiresAt ?? 0) - 300_000 - Date.now() - 10);
      losing = true;
      for (let step = upTo(4); step > 0; step -= 1) {
        await pass(upTo(2 * slowest));
        const { refresher, store } = one();
        const asked = upTo(2)
          ? refresher.accessToken()
          : refresher.forceRefresh(store.read()?.accessToken ?? '');
        asked.catch(() => undefined);
      }
      await pass(3_000);
      losing = false;
      await pass(100_000);
      expect(kept(), `seed ${seed}`).toEqual(everybody(cognito.newest));
    }
    await pass((all[0]?.store.read()?.expiresAt ?? 0) - 300_000 - Date.now() - 1);
    losing = true;
    await pass(upTo(3 * slowest));
    void one().refresher.signOut();
    await pass(100_000);
    expect([...kept(), cognito.revoked], `seed ${seed}`).toEqual([
      ...all.map(() => undefined),
      true,
    ]);
    for (const stop of stops) stop();
  }

  it('sign nobody out who did not ask for it, and sign out for good', async () => {
    for (let seed = 1; seed <= 100; seed += 1) {
      vi.clearAllTimers();
      vi.setSystemTime(NOW);
      await play(seed);
    }
  });
});
