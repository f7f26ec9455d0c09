// Keeps an access token fresh, straight at Cognito and once for all tabs.
import type { AppConfig } from './config';
import type { SessionStore } from './session';

export type RefresherOptions = {
  fetch?: typeof fetch;
  now?: () => number;
  /** Web Locks; null where the browser has none. */
  locks?: Pick<LockManager, 'request'> | null;
};

export class TokenRefresher {
  constructor(
    readonly config: AppConfig,
    readonly store: SessionStore,
    readonly options: RefresherOptions = {},
  ) {}

  async accessToken(): Promise<string | null> {
    return this.store.read()?.accessToken ?? null;
  }

  async forceRefresh(_rejectedAccessToken: string): Promise<string | null> {
    return null;
  }

  async signOut(): Promise<void> {
    this.store.clear();
  }
}
