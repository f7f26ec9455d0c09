"""Doing as if a mail went: whoever is sent none waits, and fails, as the last real mails did."""

import random
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from lambdas.email_otp.deadline import seconds_left
from lambdas.email_otp.errors import DeliveryError

REMEMBERED_MAILS = 20
FIRST_SECONDS = 0.15
"""Before this process's first mail, when there is none to go by."""

type Fate = Literal["sent", "unconfirmed", "failed"]


class Pretence:
    """How this process's last mails went: how long each took, and what became of it."""

    def __init__(self) -> None:
        self._mails: deque[tuple[float, Fate]] = deque(maxlen=REMEMBERED_MAILS)

    def watch(self, send: Callable[[], str | None]) -> str | None:
        """Hand a real mail over, and remember how that went.

        Args:
            send: Returns the mail's id, or None if it is not confirmed.

        Raises:
            DeliveryError: It failed.
        """
        began_at = time.monotonic()
        fate: Fate = "failed"
        try:
            message_id = send()
            fate = "sent" if message_id else "unconfirmed"
        finally:
            self._mails.append((time.monotonic() - began_at, fate))
        return message_id

    def pause(self) -> bool:
        """Wait as long as one of them took, drawn at random, but not past the deadline.

        Returns:
            Whether that one was confirmed.

        Raises:
            DeliveryError: That one failed.
        """
        seconds, fate = random.choice(self._mails or [(FIRST_SECONDS, "sent")])  # noqa: S311
        left = seconds_left()
        time.sleep(seconds if left is None else max(0, min(seconds, left)))
        if fate == "failed":
            raise DeliveryError
        return fate == "sent"
