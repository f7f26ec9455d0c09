// Stand-ins that the tests share: tokens with a canary in them, storages and locks.
import type { CognitoConfig } from '../auth/cognito';
import { type Session, STORAGE_KEY } from '../auth/storage';
import type { AgentConfig } from '../chat/config';

export const NOW = 1_790_000_000_000;
export const CANARY = 'canary7f3a';

export const config: CognitoConfig & AgentConfig = {
  region: 'eu-central-1',
  clientId: 'client',
  cognitoEndpoint: 'https://cognito.example.com/',
  guestEndpoint: 'https://guest.example.com/invocations',
  memberEndpoint: 'https://member.example.com/invocations',
};

/** Make a JWT that nobody signed; `at` is Cognito's clock, epoch ms. */
export function jwt(sub: string, at: number, lifeSeconds = 900, salt = '', more = {}): string {
  const iat = Math.floor(at / 1000);
  const part = (value: object) => btoa(JSON.stringify(value)).replaceAll('=', '');
  const payload = { sub, iat, exp: iat + lifeSeconds, ...more };
  return `${part({ alg: 'RS256' })}.${part(payload)}.${CANARY}${salt}`;
}

export function sessionOf(sub: string, now: number, changes: Partial<Session> = {}): Session {
  return {
    idToken: jwt(sub, now, 900, 'id'),
    accessToken: jwt(sub, now),
    refreshToken: `${CANARY}-refresh-${sub}`,
    expiresAt: now + 900_000,
    guestId: 'GST-2026-ABC123',
    email: 'ada@example.com',
    sub,
    ...changes,
  };
}

export function delivery(sub: string, now: number, changes: object = {}): object {
  const { idToken, accessToken, refreshToken, guestId, email } = sessionOf(sub, now);
  return {
    event_type: 'auth_tokens',
    success: true,
    id_token: idToken,
    access_token: accessToken,
    refresh_token: refreshToken,
    expires_in: 900,
    guest_id: guestId,
    email,
    cognito_sub: sub,
    ...changes,
  };
}

export class FakeStorage implements Storage {
  readonly items: Map<string, string>;
  failing = false;
  /** Called before a value is kept, as another tab may do something right then. */
  beforeSet: ((key: string) => void) | null = null;

  /** @param items - Those of another tab's storage, to share them. */
  constructor(items = new Map<string, string>()) {
    this.items = items;
  }

  get length(): number {
    return this.items.size;
  }

  getItem(key: string): string | null {
    return this.items.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    if (this.failing) throw new DOMException('full', 'QuotaExceededError');
    this.beforeSet?.(key);
    this.items.set(key, value);
  }

  removeItem(key: string): void {
    this.items.delete(key);
  }

  clear(): void {
    this.items.clear();
  }

  key(index: number): string | null {
    return [...this.items.keys()][index] ?? null;
  }
}

/** Web Locks as all tabs of a browser share them. */
export function fakeLocks(): Pick<LockManager, 'request'> {
  let queue: Promise<unknown> = Promise.resolve();
  const request = (_name: string, _options: unknown, work: () => Promise<unknown>) => {
    const turn = queue.then(work);
    queue = turn.catch(() => undefined);
    return turn;
  };
  return { request: request as LockManager['request'] };
}

export function denied(): never {
  throw new DOMException('denied', 'SecurityError');
}

/** A storage that throws at everything, as where cookies are blocked. */
export function blockedStorage(): Storage {
  const methods = { getItem: denied, setItem: denied, removeItem: denied };
  return Object.assign(new FakeStorage(), methods);
}

/** Put a session into the storage, or none, and tell of it, as another tab does. */
export function storeElsewhere(storage: Storage, session: object | null): void {
  if (session) storage.setItem(STORAGE_KEY, JSON.stringify(session));
  else storage.removeItem(STORAGE_KEY);
  tellStored();
}

/** Tell all tabs that something is stored, as the browser does in its own time. */
export function tellStored(key: string | null = STORAGE_KEY): void {
  globalThis.dispatchEvent(new StorageEvent('storage', { key }));
}
