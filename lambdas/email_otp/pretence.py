"""Doing as if a mail went: whoever is sent none waits, and fails, as the last real mails did."""

import random
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from lambdas.email_otp.deadline import seconds_left
from lambdas.email_otp.errors import DeliveryError

REMEMBERED_MAILS = 20
FIRST_SECONDS = 0.15
"""Before this process's first mail, when there is none to go by."""


class Pretence:
    """How this process's last mails went: how long each took, and whether SES took it."""

    def __init__(self) -> None:
        self._mails: deque[tuple[float, bool]] = deque(maxlen=REMEMBERED_MAILS)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch a real mail being handed over."""
        began_at = time.monotonic()
        taken = True
        try:
            yield
        except DeliveryError:
            taken = False
            raise
        finally:
            self._mails.append((time.monotonic() - began_at, taken))

    def pause(self) -> None:
        """Wait as long as one of them took, drawn at random, but not past the deadline.

        Raises:
            DeliveryError: That one failed.
        """
        seconds, taken = random.choice(self._mails or [(FIRST_SECONDS, True)])  # noqa: S311
        left = seconds_left()
        time.sleep(seconds if left is None else max(0, min(seconds, left)))
        if not taken:
            raise DeliveryError
