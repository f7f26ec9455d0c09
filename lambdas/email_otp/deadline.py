"""A trigger's one deadline: a call is begun, and tried again, only if it can end in time.

Cognito waits 5 s for a trigger, the start of its process included, and an error is final. So what
AWS says to try again is tried again here, where botocore's own retries know of no deadline.
Source: https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-working-with-lambda-triggers.html
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from lambdas.email_otp.errors import OutOfTimeError

TRIGGER_SECONDS = 4.0
"""From the trigger's start to the end of the last call; the rest is for Lambda and Cognito."""
LONGEST_START_SECONDS = 2.0
"""Whoever started longer ago was started ahead of time, and nobody has waited for it."""

_FIRST_PAUSE_SECONDS = 0.05
_THROTTLED = {
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "TooManyRequestsException",
}

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


def may_be_tried_again(error: Exception) -> bool:
    """Tell whether AWS says to try again: time-outs, lost connections, its own errors, throttling.

    Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
    """
    if not isinstance(error, ClientError):
        return isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or error.response.get("Error", {}).get("Code") in _THROTTLED


def in_time[Reply](
    call: Callable[[], Reply],
    *,
    seconds: float,
    try_again: Callable[[Exception], bool] = may_be_tried_again,
) -> Reply:
    """Make a call, and again while AWS says so; each time only if it can end before the deadline.

    Outside of a trigger it is made once.

    Args:
        call: The call.
        seconds: What it takes at worst, by its client's time-outs.
        try_again: Whether an error may be followed by another try.

    Raises:
        OutOfTimeError: It was not begun.
        BotoCoreError, ClientError: The last try failed.
    """
    longest_pause = _FIRST_PAUSE_SECONDS
    while True:
        left = seconds_left()
        if left is not None and left < seconds:
            raise OutOfTimeError
        try:
            return call()
        except (BotoCoreError, ClientError) as error:
            # At random, or those who were refused together would come back together.
            pause = random.uniform(0, longest_pause)  # noqa: S311
            left = seconds_left()
            if left is None or left < pause + seconds or not try_again(error):
                raise
        time.sleep(pause)
        longest_pause *= 2
