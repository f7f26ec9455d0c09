"""The agent: a conversation in which a guest signs in with a code from her e-mail."""
