// Keeps a visitor signed in, in all tabs of a browser; knows nothing of chats, React or words.
export type { CognitoConfig } from './cognito';
export { SignInUnreachableError, TokenRefresher } from './refresh';
export { SessionStore } from './session';
