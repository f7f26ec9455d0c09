"""The agent: a guest signs in with a code by e-mail in the middle of a conversation."""
