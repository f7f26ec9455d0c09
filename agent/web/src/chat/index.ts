// Carries a chat between the page and the agent, and signs the guest in on the way; without React.
export type { Challenge } from './challenge';
export type { AgentTransport, AgentTransportOptions } from './transport';
export { ChatError, createAgentTransport, SIGNED_OUT as SIGN_IN_ENDED } from './transport';
