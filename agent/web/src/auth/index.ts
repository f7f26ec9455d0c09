// Keeps a guest signed in, in all tabs of a browser; knows nothing of React.
export type { AppConfig } from './config';
export type { RefresherOptions } from './refresh';
export { SignInUnreachableError, TokenRefresher } from './refresh';
export type {
  Session,
  SessionChange,
  SessionListener,
  SessionStoreOptions,
  SignedOutReason,
} from './session';
export { SessionStore, STORAGE_KEY } from './session';
