"""A trigger's one deadline.

Cognito waits 5 s for a trigger, the start of its process included, and an error is final.
Source: https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-working-with-lambda-triggers.html
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

TRIGGER_SECONDS = 4.0
"""From the trigger's start to the end of the last call; the rest is for Lambda and Cognito."""
LONGEST_START_SECONDS = 3.0
"""Whoever started longer ago was started ahead of time, and nobody has waited for it."""

# Processor time stands in for what the process has done before this line: importing.
_process_started_at: float | None = time.monotonic() - time.process_time()
_ends_at: ContextVar[float | None] = ContextVar("ends_at", default=None)


@contextmanager
def begun() -> Iterator[None]:
    """Set the deadline of a trigger that begins; a process's first began with its process."""
    global _process_started_at
    now = time.monotonic()
    started_at, _process_started_at = _process_started_at, None
    if started_at is None or now - started_at > LONGEST_START_SECONDS:
        started_at = now
    before = _ends_at.set(started_at + TRIGGER_SECONDS)
    try:
        yield
    finally:
        _ends_at.reset(before)


def seconds_left() -> float | None:
    """Return how long this call has left, or None outside of a trigger."""
    ends_at = _ends_at.get()
    return None if ends_at is None else ends_at - time.monotonic()
