"""What the agent remembers per session id, bounded in number and age."""

import threading
from collections import OrderedDict
from collections.abc import Callable


class Sessions[T]:
    """A map from session ids to values that forgets the least recently used.

    Losing an entry is always safe here: the visitor starts that part again.

    Args:
        make: Makes the value of a session not seen before, or forgotten.
        limit: Most sessions held at once.
        idle_seconds: A session not used for longer is forgotten.
        clock: Epoch seconds.
    """

    def __init__(
        self,
        make: Callable[[], T],
        *,
        limit: int,
        idle_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._make = make
        self._limit = limit
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, tuple[float, T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, session_id: str) -> T | None:
        """Return the session's value and mark it used, or None; makes none."""
        return self.get(session_id) if session_id in self._entries else None

    def get(self, session_id: str) -> T:
        """Return the session's value, made if need be, and mark it used."""
        with self._lock:
            now = self._clock()
            while self._entries:
                oldest, (used_at, _) = next(iter(self._entries.items()))
                if used_at + self._idle_seconds >= now:
                    break
                del self._entries[oldest]
            entry = self._entries.pop(session_id, None)
            value = self._make() if entry is None else entry[1]
            self._entries[session_id] = (now, value)
            if len(self._entries) > self._limit:
                self._entries.popitem(last=False)
            return value
