// Signs visitors of a chat in by e-mail code and keeps them signed in; knows nothing of React.
export type { AppConfig } from './config';
export { SessionStore, STORAGE_KEY } from './session';
export type { Session, SessionChange, SessionListener } from './session';
export { TokenRefresher } from './refresh';
export type { RefresherOptions } from './refresh';
export { createAgentTransport } from './transport';
export type {
  AgentTransport,
  AgentTransportOptions,
  Challenge,
  SignedOutReason,
} from './transport';
