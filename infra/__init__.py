"""The stack, its constructs, and the embedded AWS it is tested in."""
