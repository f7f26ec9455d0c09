"""Codes that are never mailed, for users who may not sign in: they come as real ones would."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from .sessions import Sessions

# The limits of lambdas/email_otp/ledger.py, which the agent cannot import; a test compares them.
COOLDOWN_SECONDS = 30
"""The pause between two mails to a user: the whole of it is left if one has just gone."""
BURST_SENDS, BURST_SECONDS = 5, 15 * 60
DAILY_SENDS, DAILY_SECONDS = 20, 24 * 3600
QUIET_SECONDS = 10 * 60

_ADDRESSES_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Decoy:
    """What a code would be, had there been one.

    Attributes:
        expires_at: Epoch seconds; None where nothing may be sent and nothing is out.
        retry_after_seconds: Until another may be asked for.
    """

    expires_at: int | None
    retry_after_seconds: int


@dataclass(slots=True)
class _Address:
    sent_at: list[int] = field(default_factory=list)  # epoch seconds, the latest first
    expires_at: int = 0


class Decoys:
    """Remembers what was asked for, by address, for as long as this process lives.

    Args:
        clock: Epoch seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._addresses: Sessions[_Address] = Sessions(
            limit=_ADDRESSES_LIMIT, idle_seconds=DAILY_SECONDS, clock=clock
        )

    def ask(self, address: str, *, life_seconds: int) -> Decoy:
        """Ask for a code: a new one, the one that is out, or none, by the ledger's rules.

        Args:
            address: Of the user, lower-cased.
            life_seconds: How long a code lives.
        """
        now = int(self._clock())
        with self._lock:
            asked = self._addresses.get(address, _Address)
            wait = _wait(asked.sent_at, now)
            if wait <= 0:
                asked.sent_at = [now, *asked.sent_at][:DAILY_SENDS]
                asked.expires_at = now + life_seconds
                return Decoy(asked.expires_at, COOLDOWN_SECONDS)
            return Decoy(asked.expires_at if now < asked.expires_at else None, wait)


def _wait(sent_at: list[int], now: int) -> int:
    if not sent_at:
        return 0
    quiet_at = sent_at[0] + QUIET_SECONDS
    free_at = [sent_at[0] + COOLDOWN_SECONDS]
    for sends, seconds in ((BURST_SENDS, BURST_SECONDS), (DAILY_SENDS, DAILY_SECONDS)):
        if len(sent_at) >= sends:
            free_at.append(min(sent_at[sends - 1] + seconds, quiet_at))
    return max(free_at) - now
