"""Makes who is known take as long as who is new, so that no clock tells who exists."""

import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence

USUAL_SECONDS = 0.1
"""How long creating a user takes, as long as this process has created none."""
_KEPT = 20


class CreationTimes:
    """Remembers how long the latest creations took.

    Args:
        now: Seconds on any clock that goes forward.
        sleep: Waits for so many seconds.
        choose: Draws one of the times.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        choose: Callable[[Sequence[float]], float] = secrets.choice,
    ) -> None:
        self.now = now
        self._sleep = sleep
        self._choose = choose
        self._seconds: deque[float] = deque(maxlen=_KEPT)

    def note(self, began_at: float) -> None:
        """Remember a creation that began then and has just ended."""
        self._seconds.append(self.now() - began_at)

    def wait(self, began_at: float) -> None:
        """Let as much time pass since then as one of the latest creations took."""
        seconds = self._choose(self._seconds) if self._seconds else USUAL_SECONDS
        self._sleep(max(0, began_at + seconds - self.now()))
