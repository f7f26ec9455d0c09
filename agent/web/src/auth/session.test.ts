// The session survives what a browser's storage does, and tells who changed.
import { describe, expect, it, vi } from 'vitest';

import { type SessionChange, SessionStore, STORAGE_KEY } from './session';
import { FakeStorage, sessionOf } from './testing';

const NOW = 1_790_000_000_000;
const now = () => NOW;

describe('SessionStore', () => {
  it('keeps a session over a reload', () => {
    const storage = new FakeStorage();
    new SessionStore({ storage, now }).save(sessionOf('ada', NOW));
    const reloaded = new SessionStore({ storage, now });
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
    expect(new SessionStore({ storage, now }).read()).toBeNull();
  });

  it('takes a token that seems to live for days as expired', () => {
    const storage = new FakeStorage();
    const store = new SessionStore({ storage, now });
    store.save(sessionOf('ada', NOW, { expiresAt: NOW + 3 * 86_400_000 }));
    expect(store.read()?.expiresAt).toBe(NOW);
  });

  it('keeps a session in memory where the storage is full, and leaves no older one behind', () => {
    const storage = new FakeStorage();
    const store = new SessionStore({ storage, now });
    store.save(sessionOf('grace', NOW));
    storage.failing = true;
    store.save(sessionOf('ada', NOW));
    expect(store.read()?.sub).toBe('ada');
    expect(store.persistent).toBe(false);
    expect(storage.getItem(STORAGE_KEY)).toBeNull();
    storage.failing = false;
    store.save(sessionOf('ada', NOW));
    expect([store.persistent, storage.length]).toEqual([true, 1]);
    store.clear();
    expect(store.read()).toBeNull();
  });

  it('works without any storage', () => {
    const store = new SessionStore({ storage: null, now });
    store.save(sessionOf('ada', NOW));
    expect([store.read()?.sub, store.persistent]).toEqual(['ada', false]);
    store.clear();
    expect([store.read(), store.persistent]).toEqual([null, false]);
  });

  it('works where touching localStorage throws', () => {
    const spy = vi.spyOn(globalThis, 'localStorage', 'get').mockImplementation(() => {
      throw new DOMException('denied', 'SecurityError');
    });
    const store = new SessionStore({ now });
    store.save(sessionOf('ada', NOW));
    expect(spy).toHaveBeenCalled();
    expect([store.read()?.sub, store.persistent]).toEqual(['ada', false]);
  });

  it('works where each use of the storage throws', () => {
    const denied = () => {
      throw new DOMException('denied', 'SecurityError');
    };
    const storage = Object.assign(new FakeStorage(), {
      getItem: denied,
      setItem: denied,
      removeItem: denied,
    });
    const store = new SessionStore({ storage, now });
    expect(store.read()).toBeNull();
    store.save(sessionOf('ada', NOW));
    expect([store.read()?.sub, store.persistent]).toEqual(['ada', false]);
    store.clear();
    expect(store.read()).toBeNull();
  });

  it('is signed out when another tab empties the whole storage', () => {
    const storage = new FakeStorage();
    const store = new SessionStore({ storage, now });
    store.save(sessionOf('ada', NOW));
    const reasons: unknown[] = [];
    const stop = store.subscribe((change) => reasons.push(change.signedOutReason));
    storage.clear();
    globalThis.dispatchEvent(new StorageEvent('storage', { key: null }));
    stop();
    expect(reasons).toEqual(['other-tab']);
  });

  it('tells another tab apart, and a change of user from a refresh', () => {
    const storage = new FakeStorage();
    const store = new SessionStore({ storage, now });
    const changes: SessionChange[] = [];
    const stop = store.subscribe((change) => changes.push(change));
    const elsewhere = (session: object | null) => {
      if (session) storage.setItem(STORAGE_KEY, JSON.stringify(session));
      else storage.removeItem(STORAGE_KEY);
      globalThis.dispatchEvent(new StorageEvent('storage', { key: STORAGE_KEY }));
    };
    store.save(sessionOf('ada', NOW));
    elsewhere(sessionOf('ada', NOW, { accessToken: 'newer' }));
    elsewhere(sessionOf('grace', NOW));
    elsewhere(null);
    elsewhere(null);
    store.save(sessionOf('ada', NOW));
    store.clear('expired');
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
});
