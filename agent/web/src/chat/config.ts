// What the chat must know of a deployment; none of it is secret.

export type AgentConfig = {
  region: string;
  /** Where anonymous messages are posted. */
  guestEndpoint: string;
  /** Where messages are posted with a bearer token. */
  memberEndpoint: string;
  /** With `guestRuntimeArn`: anonymous messages go there, with this pool's guest credentials. */
  identityPoolId?: string;
  guestRuntimeArn?: string;
  /** The pool's guest role; the basic flow asks STS for it by name. */
  guestRoleArn?: string;
};
