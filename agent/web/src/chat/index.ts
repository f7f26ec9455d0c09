// Carries the chat between page and agent, and signs the visitor in on the way; without React.
export type { AgentConfig } from './config';
export type { ChatErrorCode } from './errors';
export type { PendingCode } from './pending-code';
export { type AgentTransport, createAgentTransport, MAX_PROMPT_CHARS } from './transport';
