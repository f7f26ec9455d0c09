// Refreshing keeps the visitor signed in over everything but Cognito's own refusal.
import { describe, expect, it } from 'vitest';

import { TokenRefresher } from './refresh';
import { type Session, SessionStore } from './session';
import { config, fakeLocks, FakeStorage, jwt, sessionOf } from './testing';

const START = 1_790_000_000_000;
type Call = { operation: string; body: Record<string, string>; url: string };

function world(changes: Partial<Session> = {}, skew = 0) {
  const state = { now: START, skew, answers: [] as (() => Response | Promise<Response>)[] };
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
    await new Promise((resolve) => setTimeout(resolve, 1));
    const next = state.answers.shift();
    return next ? next() : granted();
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
  const tab = (withLocks: boolean | Pick<LockManager, 'request'> = true) => {
    const store = new SessionStore({ storage, now });
    const options = { fetch: send, now, locks: withLocks === true ? locks : withLocks || null };
    return { store, refresher: new TokenRefresher(config, store, options) };
  };
  const refused = (type: string, status = 400) => () => Response.json({ __type: type }, { status });
  const first = tab();
  first.store.save(
    sessionOf('ada', START, { accessToken: jwt('ada', START + skew), ...changes }),
  );
  return { state, calls, tab, granted, refused, ...first };
}

const due = 900_000 - 300_000;

describe('TokenRefresher', () => {
  it('leaves a young token alone and refreshes in the last third', async () => {
    const { state, calls, refresher, store } = world();
    state.now = START + due - 1;
    expect(await refresher.accessToken()).toBe(store.read()?.accessToken);
    expect(calls).toHaveLength(0);
    state.now = START + due;
    const fresh = await refresher.accessToken();
    expect(fresh).toContain('n1');
    expect(calls).toEqual([
      {
        operation: 'GetTokensFromRefreshToken',
        url: config.cognitoEndpoint,
        body: { RefreshToken: sessionOf('ada', START).refreshToken, ClientId: 'client' },
      },
    ]);
    expect(store.read()).toMatchObject({ accessToken: fresh, expiresAt: START + due + 900_000 });
  });

  it.each([
    [3600, 300_000],
    [600, 200_000],
  ])('refreshes a token that lives %i s no more than %i ms before its end', async (life, lead) => {
    const accessToken = jwt('ada', START, life);
    const expiresAt = START + life * 1000;
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
    state.now = START + due;
    await refresher.accessToken();
    await refresher.accessToken();
    expect(calls).toHaveLength(1);
    expect(store.read()?.expiresAt).toBe(START + due + 900_000);
  });

  it.each([true, false])('asks once for all callers (Web Locks: %s)', async (withLocks) => {
    const { state, calls, tab } = world();
    state.now = START + due;
    const first = tab(withLocks);
    const others = withLocks ? [tab(), tab()] : [first, first];
    const all = [first, ...others].map(({ refresher }) => refresher.accessToken());
    expect(new Set(await Promise.all(all)).size).toBe(1);
    expect(calls).toHaveLength(1);
  });

  it('keeps a rotated refresh token, and the old one if there is none', async () => {
    const { state, granted, refresher, store } = world();
    state.now = START + due;
    state.answers.push(() => granted({ RefreshToken: 'rotated' }));
    await refresher.accessToken();
    expect(store.read()?.refreshToken).toBe('rotated');
    state.now += due;
    state.answers.push(() => granted({ RefreshToken: '' }));
    await refresher.accessToken();
    expect(store.read()?.refreshToken).toBe('rotated');
  });

  it.each(['NotAuthorizedException', 'com.example#RefreshTokenReuseException'])(
    'ends the session on %s',
    async (type) => {
      const { state, refused, refresher, store } = world();
      const reasons: unknown[] = [];
      store.subscribe((change) => reasons.push(change.signedOutReason));
      state.now = START + due;
      state.answers.push(refused(type));
      expect(await refresher.accessToken()).toBeNull();
      expect(store.read()).toBeNull();
      expect(reasons).toEqual(['expired']);
    },
  );

  const troubles: [string, () => Response][] = [
    ['no network', () => { throw new TypeError('failed'); }],
    ['a 503', () => new Response('busy', { status: 503 })],
    ['throttling', () => Response.json({ __type: 'TooManyRequestsException' }, { status: 400 })],
    ['a proxy page', () => new Response('<html>', { status: 200 })],
    ['no tokens', () => Response.json({ AuthenticationResult: null })],
  ];
  it.each(troubles)('uses the old token over %s, while it lasts', async (_name, trouble) => {
    const { state, refresher, store } = world();
    const old = store.read()?.accessToken ?? '';
    state.now = START + due;
    state.answers.push(trouble, trouble, trouble);
    expect(await refresher.accessToken()).toBe(old);
    await expect(refresher.forceRefresh(old)).rejects.toThrow('cannot be checked');
    state.now = START + 900_000;
    await expect(refresher.accessToken()).rejects.toThrow('cannot be checked');
    expect(store.read()?.sub).toBe('ada');
    expect(await refresher.accessToken()).toContain(`n`);
  });

  it('takes the newer token of another tab instead of asking', async () => {
    const { calls, refresher, tab } = world();
    const newer = jwt('ada', START, 900, 'newer');
    const rejected = (await refresher.accessToken()) ?? '';
    tab().store.save(sessionOf('ada', START, { accessToken: newer }));
    expect(await refresher.forceRefresh(rejected)).toBe(newer);
    expect(calls).toHaveLength(0);
  });

  it('stores nothing for a session that is over, and revokes what it got', async () => {
    const { state, calls, granted, refresher, store } = world();
    state.now = START + due;
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
    state.now = START + due;
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
    state.now = START + due;
    state.answers.push(() => granted({ AccessToken: jwt('grace', START) }));
    expect(await refresher.accessToken()).toBeNull();
    expect(store.read()).toBeNull();
  });

  it('signs out, after a refresh under way, even if revoking fails', async () => {
    const { state, calls, granted, refresher, store, tab } = world();
    let signedInWhileRevoking: Session | null | undefined;
    state.now = START + due;
    state.answers.push(
      () => granted({ RefreshToken: 'rotated' }),
      () => {
        signedInWhileRevoking = store.read();
        throw new TypeError('failed');
      },
    );
    await Promise.all([refresher.accessToken(), tab().refresher.signOut()]);
    expect(calls.map(({ operation, body }) => [operation, body['Token']])).toEqual([
      ['GetTokensFromRefreshToken', undefined],
      ['RevokeToken', 'rotated'],
    ]);
    expect(signedInWhileRevoking).toBeNull();
    expect(store.read()).toBeNull();
  });

  it('goes without the lock that another tab holds for good', async () => {
    const { state, calls, store, tab } = world();
    const signals: unknown[] = [];
    const request = async (_name: string, { signal }: LockOptions) => {
      signals.push(signal);
      throw new DOMException('timed out', 'TimeoutError');
    };
    const { refresher } = tab({ request: request as LockManager['request'] });
    state.now = START + due;
    expect(await refresher.accessToken()).toBe(store.read()?.accessToken);
    state.now = START + 900_000;
    await expect(refresher.accessToken()).rejects.toThrow('cannot be checked');
    expect(calls).toHaveLength(0);
    await refresher.signOut();
    expect(store.read()).toBeNull();
    expect(calls).toMatchObject([{ operation: 'RevokeToken' }]);
    expect(signals).toEqual(Array(3).fill(expect.any(AbortSignal)));
  });

  it('has no token for nobody', async () => {
    const { refresher, store } = world();
    store.clear();
    expect([await refresher.accessToken(), await refresher.forceRefresh('x')]).toEqual([null, null]);
  });
});
