// Carries a chat between the page and the agent, and signs the guest in on the way; without React.
export type { AgentConfig } from './config';
export type { ChatErrorCode } from './errors';
export type { PendingCode } from './pending-code';
export { type AgentTransport, createAgentTransport, MAX_PROMPT_CHARS } from './transport';
