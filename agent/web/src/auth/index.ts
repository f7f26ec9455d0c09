// Signs visitors of a chat in by e-mail code and keeps them signed in; knows nothing of React.
export type { Challenge } from './challenge';
export type { AppConfig } from './config';
export { SignInUnreachableError, TokenRefresher } from './refresh';
export type { RefresherOptions } from './refresh';
export { SessionStore, STORAGE_KEY } from './session';
export type {
  Session,
  SessionChange,
  SessionListener,
  SessionStoreOptions,
  SignedOutReason,
} from './session';
export { ChatError, createAgentTransport, SIGNED_OUT as SIGN_IN_ENDED } from './transport';
export type { AgentTransport, AgentTransportOptions } from './transport';
