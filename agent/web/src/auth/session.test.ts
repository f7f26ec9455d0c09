// The session survives what a browser's storage does, and tells who changed.
import { describe, expect, it, vi } from 'vitest';

import {
  blockedStorage,
  denied,
  FakeStorage,
  jwt,
  NOW,
  sessionOf,
  storeElsewhere,
  tellStored,
} from '../testing/fakes';
import { type SessionChange, SessionStore } from './session';
import { STORAGE_KEY } from './storage';

function signedIn() {
  const storage = new FakeStorage();
  const store = new SessionStore({ storage });
  store.save(sessionOf('ada', NOW));
  return { storage, store };
}

/** Make two tabs of one browser; the storage of the one here fails when the test says so. */
function twoTabs() {
  const storage = new FakeStorage();
  const full = new FakeStorage(storage.items);
  const here = new SessionStore({ storage: full });
  const other = new SessionStore({ storage });
  return { storage, full, here, other };
}

describe('SessionStore', () => {
  it('keeps a session over a reload', () => {
    const storage = new FakeStorage();
    new SessionStore({ storage }).save(sessionOf('ada', NOW));
    const reloaded = new SessionStore({ storage });
    expect(reloaded.read()).toEqual(sessionOf('ada', NOW));
    expect(reloaded.persistent).toBe(true);
  });

  it.each([
    'no json',
    'null',
    '[]',
    '{}',
    JSON.stringify({ ...sessionOf('ada', NOW), sub: '' }),
    JSON.stringify({ ...sessionOf('ada', NOW), accessToken: 7 }),
    JSON.stringify({ ...sessionOf('ada', NOW), expiresAt: 'soon' }),
    JSON.stringify({ ...sessionOf('ada', NOW), expiresAt: null }),
    JSON.stringify({ ...sessionOf('ada', NOW), expiresAt: 0 }),
    JSON.stringify(sessionOf('ada', NOW, { expiresAt: 7 })).replace(':7,', ':1e999,'),
  ])('reads nothing out of %s', (text) => {
    const storage = new FakeStorage();
    storage.setItem(STORAGE_KEY, text);
    expect(new SessionStore({ storage }).read()).toBeNull();
  });

  it('keeps a session in memory where the storage is full, and leaves no older one behind', () => {
    const storage = new FakeStorage();
    const store = new SessionStore({ storage });
    store.save(sessionOf('grace', NOW));
    storage.failing = true;
    store.save(sessionOf('ada', NOW));
    expect(store.read()?.sub).toBe('ada');
    expect(store.persistent).toBe(false);
    expect(storage.getItem(STORAGE_KEY)).toBeNull();
    storage.failing = false;
    store.save(sessionOf('ada', NOW));
    expect([store.persistent, storage.length]).toEqual([true, 1]);
    store.signOut();
    expect(store.read()).toBeNull();
  });

  it('keeps a session in memory where the storage drops it without a word', () => {
    const storage = Object.assign(new FakeStorage(), { setItem: () => undefined });
    const store = new SessionStore({ storage });
    store.save(sessionOf('ada', NOW));
    expect([store.read()?.sub, store.persistent]).toEqual(['ada', false]);
  });

  it('signs out though the storage takes neither the mark nor the removal', () => {
    const { storage, store } = signedIn();
    Object.assign(storage, { setItem: denied, removeItem: denied });
    expect(store.signOut()).toEqual([sessionOf('ada', NOW).refreshToken]);
    expect(store.read()).toBeNull();
    store.save(sessionOf('grace', NOW));
    expect(store.read()?.sub).toBe('grace');
    store.signOut();
    expect(store.read()).toBeNull();
    expect(storage.length).toBe(1); // still there, and nobody's
  });

  it('heeds a sign-out in another tab after one of its own that took no mark', () => {
    const { full, here, other } = twoTabs();
    here.save(sessionOf('ada', NOW));
    full.failing = true;
    here.signOut();
    full.failing = false;
    other.save(sessionOf('grace', NOW));
    full.beforeSet = (key) => key === STORAGE_KEY && other.signOut();
    expect(here.renew(sessionOf('grace', NOW), sessionOf('grace', NOW))).toBe(false);
    expect([here.read(), here.persistent]).toEqual([null, true]);
  });

  it('works without any storage', () => {
    const store = new SessionStore({ storage: null });
    store.save(sessionOf('ada', NOW));
    expect([store.read()?.sub, store.persistent]).toEqual(['ada', false]);
    store.signOut();
    expect([store.read(), store.persistent]).toEqual([null, false]);
  });

  it('works where touching localStorage throws', () => {
    const spy = vi.spyOn(globalThis, 'localStorage', 'get').mockImplementation(denied);
    const store = new SessionStore();
    store.save(sessionOf('ada', NOW));
    expect(spy).toHaveBeenCalled();
    expect([store.read()?.sub, store.persistent]).toEqual(['ada', false]);
  });

  it('works where each use of the storage throws', () => {
    const store = new SessionStore({ storage: blockedStorage() });
    expect(store.read()).toBeNull();
    store.save(sessionOf('ada', NOW));
    expect([store.read()?.sub, store.persistent]).toEqual(['ada', false]);
    store.signOut();
    expect(store.read()).toBeNull();
  });

  it('is signed out when another tab empties the whole storage', () => {
    const { storage, store } = signedIn();
    const reasons: unknown[] = [];
    const stop = store.subscribe((change) => reasons.push(change.signedOutReason));
    storage.clear();
    tellStored(null);
    stop();
    expect(reasons).toEqual(['other-tab']);
  });

  it('tells another tab apart, and a change of user from a refresh', () => {
    const storage = new FakeStorage();
    const store = new SessionStore({ storage });
    const changes: SessionChange[] = [];
    const stop = store.subscribe((change) => changes.push(change));
    store.save(sessionOf('ada', NOW));
    storeElsewhere(storage, sessionOf('ada', NOW, { accessToken: 'newer' }));
    storeElsewhere(storage, sessionOf('grace', NOW));
    storeElsewhere(storage, null);
    storeElsewhere(storage, null);
    store.save(sessionOf('ada', NOW));
    store.expire();
    stop();
    store.save(sessionOf('ada', NOW));
    expect(
      changes.map((change) => [
        change.previous?.sub,
        change.current?.sub,
        change.userChanged,
        change.fromOtherTab,
        change.signedOutReason,
      ]),
    ).toEqual([
      [undefined, 'ada', true, false, null],
      ['ada', 'ada', false, true, null],
      ['ada', 'grace', true, true, null],
      ['grace', undefined, true, true, 'other-tab'],
      [undefined, 'ada', true, false, null],
      ['ada', undefined, true, false, 'expired'],
    ]);
  });

  it('tells the others though one throws, and reports what it threw', () => {
    const report = vi.fn();
    vi.stubGlobal('reportError', report);
    const store = new SessionStore({ storage: new FakeStorage() });
    const heard: unknown[] = [];
    const failed = new Error('its own');
    store.subscribe(() => {
      throw failed;
    });
    store.subscribe(({ current }) => heard.push(current?.sub));
    store.save(sessionOf('ada', NOW));
    store.signOut();
    vi.unstubAllGlobals();
    expect([heard, report.mock.calls]).toEqual([
      ['ada', undefined],
      [[failed], [failed]],
    ]);
  });

  it('tells nobody who was taken away by another that hears', () => {
    const store = new SessionStore({ storage: new FakeStorage() });
    const second = vi.fn();
    store.subscribe(() => stop());
    const stop = store.subscribe(second);
    store.save(sessionOf('ada', NOW));
    expect(second).not.toHaveBeenCalled();
  });

  it('tells of changes in order, though a listener makes one itself', () => {
    const store = new SessionStore({ storage: new FakeStorage() });
    const heard: unknown[] = [];
    store.subscribe(({ current }) => {
      if (current) store.signOut();
    });
    store.subscribe(({ previous, current }) => heard.push([previous?.sub, current?.sub]));
    store.save(sessionOf('ada', NOW));
    expect(heard).toEqual([
      [undefined, 'ada'],
      ['ada', undefined],
    ]);
  });

  it.each([
    ['pageshow', globalThis],
    ['visibilitychange', document],
  ])('hears at %s what other tabs did while this one slept', (event, target) => {
    const { storage, store } = signedIn();
    const heard: unknown[] = [];
    const stop = store.subscribe((change) =>
      heard.push([change.current?.sub, change.fromOtherTab]),
    );
    storage.setItem(STORAGE_KEY, JSON.stringify(sessionOf('grace', NOW)));
    target.dispatchEvent(new Event(event));
    target.dispatchEvent(new Event(event));
    stop();
    storage.clear();
    target.dispatchEvent(new Event(event));
    expect(heard).toEqual([['grace', true]]);
  });

  it("leaves another tab's session alone where the storage is full", () => {
    const { full, here, other } = twoTabs();
    full.failing = true;
    other.save(sessionOf('grace', NOW));
    here.save(sessionOf('ada', NOW));
    expect([here.read()?.sub, other.read()?.sub]).toEqual(['ada', 'grace']);
    here.signOut();
    expect(other.read()?.sub).toBe('grace');
  });

  it('that goes on in memory hears of the sign-out in another tab', () => {
    const { full, here, other } = twoTabs();
    other.save(sessionOf('ada', NOW));
    full.failing = true;
    here.renew(sessionOf('ada', NOW), sessionOf('ada', NOW, { refreshToken: 'rotated' }));
    expect([here.persistent, here.read()?.refreshToken]).toEqual([false, 'rotated']);
    other.signOut();
    expect(here.read()).toBeNull();
    other.save(sessionOf('grace', NOW));
    expect(here.read()?.sub).toBe('grace');
    other.signOut();
    expect(here.read()).toBeNull(); // the mark of the first sign-out is overwritten by now
  });

  it("that goes on in memory does not put its session in another's place", () => {
    const { full, here, other } = twoTabs();
    full.failing = true;
    here.save(sessionOf('ada', NOW));
    full.failing = false;
    other.save(sessionOf('grace', NOW));
    here.renew(sessionOf('ada', NOW), sessionOf('ada', NOW, { refreshToken: 'rotated' }));
    expect([here.read()?.refreshToken, other.read()?.sub]).toEqual(['rotated', 'grace']);
  });

  it('signs out for good where only the session itself filled the storage', () => {
    const { storage, store } = signedIn();
    const written = storage.getItem(STORAGE_KEY) ?? '';
    storage.beforeSet = () => {
      if (storage.items.has(STORAGE_KEY)) throw new DOMException('full', 'QuotaExceededError');
    };
    store.signOut();
    storage.items.set(STORAGE_KEY, written);
    expect(store.read()).toBeNull();
  });

  it('signs out together with what a refresh in another tab stores at that moment', () => {
    const { storage, full, here, other } = twoTabs();
    here.save(sessionOf('ada', NOW));
    full.beforeSet = (key) => {
      if (key === STORAGE_KEY) return;
      full.beforeSet = null;
      other.renew(sessionOf('ada', NOW), sessionOf('ada', NOW, { refreshToken: 'rotated' }));
    };
    expect(here.signOut()).toEqual(['rotated', sessionOf('ada', NOW).refreshToken]);
    expect([here.read(), storage.getItem(STORAGE_KEY)]).toEqual([null, null]);
  });

  describe('beside another deployment on the same origin', () => {
    const of = (clientId: string, sub: string) =>
      sessionOf(sub, NOW, { accessToken: jwt(sub, NOW, 900, '', { client_id: clientId }) });
    const two = () => {
      const storage = new FakeStorage();
      const here = new SessionStore({ storage, clientId: 'here' });
      const there = new SessionStore({ storage, clientId: 'there' });
      return { storage, here, there };
    };

    it('neither sees nor replaces nor ends its session', () => {
      const { storage, here, there } = two();
      here.save(of('here', 'ada'));
      const kept = storage.getItem(STORAGE_KEY);
      expect(there.read()).toBeNull();
      there.save(of('there', 'grace'));
      expect([here.read()?.sub, there.read()?.sub]).toEqual(['ada', 'grace']);
      expect(storage.getItem(STORAGE_KEY)).toBe(kept);
      there.signOut();
      expect([here.read()?.sub, there.read()]).toEqual(['ada', null]);
      there.save(of('there', 'grace'));
      here.signOut();
      expect([here.read(), there.read()?.sub]).toEqual([null, 'grace']);
    });

    it('goes back to the key of the contract once that is free', () => {
      const { storage, here, there } = two();
      here.save(of('here', 'ada'));
      there.save(of('there', 'grace'));
      here.signOut();
      const { accessToken } = of('there', 'grace');
      there.renew(of('there', 'grace'), of('there', 'grace'));
      expect(JSON.parse(storage.getItem(STORAGE_KEY) ?? '')).toMatchObject({ accessToken });
      expect(storage.getItem(`${STORAGE_KEY}:there`)).toBeNull();
      here.save(of('here', 'ada'));
      expect([here.read()?.sub, there.read()?.sub]).toEqual(['ada', 'grace']);
      here.signOut();
      there.signOut();
      expect([...storage.items.keys()].filter((key) => !key.endsWith(':signed_out'))).toEqual([]);
    });

    it('hears of its own sessions alone', () => {
      const { storage, here, there } = two();
      here.save(of('here', 'ada'));
      const heard: unknown[] = [];
      const stop = there.subscribe(({ current }) => heard.push(current?.sub));
      tellStored();
      new SessionStore({ storage, clientId: 'there' }).save(of('there', 'grace'));
      tellStored(`${STORAGE_KEY}:there`);
      stop();
      expect(heard).toEqual(['grace']);
    });
  });
});
