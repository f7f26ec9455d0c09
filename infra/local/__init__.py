"""The embedded AWS: a deployment into MiniStack, with the agent and the chat beside it."""
