"""Calls to AWS: how long each may take, and which are made again before the trigger's deadline.

What AWS says to try again is tried again here, where botocore's own retries know of no deadline.
On a connection that stands, TCP sends a lost packet again within the read time-out; a connection
that is not there in time is begun anew.
"""

import contextlib
import random
import time
from collections.abc import Callable

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from lambdas.email_otp.deadline import seconds_left
from lambdas.email_otp.errors import OutOfTimeError

CONNECT_TIMEOUT_SECONDS = 0.3
READ_TIMEOUT_SECONDS = 0.4
MAIL_READ_TIMEOUT_SECONDS = 1.0
CALL_SECONDS = CONNECT_TIMEOUT_SECONDS + READ_TIMEOUT_SECONDS
"""What a call takes at worst."""
MAIL_SECONDS = CONNECT_TIMEOUT_SECONDS + MAIL_READ_TIMEOUT_SECONDS
"""What handing a mail to SES takes at worst."""

_FIRST_PAUSE_SECONDS = 0.05
_QUICK_SECONDS = 0.2
_THROTTLED = {
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "TooManyRequestsException",
}


def may_be_tried_again(error: Exception) -> bool:
    """Tell whether AWS says to try again: time-outs, lost connections, its own errors, throttling.

    Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
    """
    if not isinstance(error, ClientError):
        return isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or error.response.get("Error", {}).get("Code") in _THROTTLED


def ahead(*calls: Callable[[], object]) -> None:
    """Make calls before there is a trigger, while Lambda gives a process that starts a full core.

    They open connections, and botocore builds on the first call what the next ones use. One that
    is slow, or fails, however it does, is the last, since Cognito is waiting; the trigger makes
    it again, and says how it failed.
    """
    with contextlib.suppress(Exception):
        for call in calls:
            began_at = time.monotonic()
            call()
            if time.monotonic() - began_at > _QUICK_SECONDS:
                return


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
