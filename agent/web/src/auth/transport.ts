// Carries the chat between the page and the agent, and keeps tokens away from the page.
import { DefaultChatTransport, type ChatTransport, type UIMessage } from 'ai';

import type { AppConfig } from './config';
import type { TokenRefresher } from './refresh';
import type { Session, SessionStore } from './session';

/** A login that waits for a code, or one that has just ended without success. */
export type Challenge = {
  /** False once no code can be entered any more; a new one may be asked for. */
  open: boolean;
  codeLength: number;
  /** Epoch ms on this computer's clock. */
  expiresAt: number;
  attemptsLeft: number;
  /** The masked address. */
  destination: string;
  /** Seconds until another code may be asked for. */
  retryAfter: number;
  /** Why the last step failed, such as `INVALID_OTP`; null if it did not. */
  errorCode: string | null;
};

export type SignedOutReason = 'expired' | 'user' | 'other-tab';

export type AgentTransportOptions = {
  config: AppConfig;
  store: SessionStore;
  refresher: TokenRefresher;
  fetch?: typeof fetch;
  now?: () => number;
  /**
   * Called when the answer that signed the visitor in has ended. Send `pendingQuestion`, if there
   * is one, as soon as the chat is ready; it is given only once.
   */
  onSignedIn?: (session: Session, pendingQuestion: string | null) => void;
  onChallenge?: (challenge: Challenge) => void;
  onSignedOut?: (reason: SignedOutReason) => void;
};

export type AgentTransport = ChatTransport<UIMessage>;

/**
 * Makes the transport for `useChat`.
 *
 * A code goes beside the message, never in it:
 * `sendMessage({ text: 'Code entered' }, { body: { code } })` posts `{"prompt": "", "code": ...}`.
 */
export function createAgentTransport(
  options: AgentTransportOptions,
  Base: typeof DefaultChatTransport = DefaultChatTransport,
): AgentTransport {
  return new Base<UIMessage>({ api: options.config.guestEndpoint });
}
