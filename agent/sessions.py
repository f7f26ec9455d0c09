"""What the agent remembers per session id, bounded in number and age."""

import threading
from collections import OrderedDict
from collections.abc import Callable


class Sessions[T]:
    """A map from session ids to values that forgets the least recently used.

    What is kept is displaced by others that are kept alone, so that a flood of new sessions
    displaces new sessions. Losing an entry is always safe: the visitor starts that part again.

    Args:
        make: Makes the value of a session not seen before, or forgotten.
        limit: Most new sessions held at once, and most that are kept.
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
        self._new: _Entries[T] = OrderedDict()
        self._kept: _Entries[T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._new) + len(self._kept)

    def find(self, session_id: str) -> T | None:
        """Return the session's value and mark it used, or None; makes none."""
        with self._lock:
            return self._used(session_id)

    def get(self, session_id: str) -> T:
        """Return the session's value, made if need be, and mark it used."""
        with self._lock:
            value = self._used(session_id)
            if value is None:
                value = self._make()
                self._put(self._new, session_id, value)
            return value

    def keep(self, session_id: str, value: T) -> None:
        """Keep a session: who does has done what cannot be done at any rate."""
        with self._lock:
            self._new.pop(session_id, None)
            self._kept.pop(session_id, None)
            self._put(self._kept, session_id, value)

    def _used(self, session_id: str) -> T | None:
        now = self._clock()
        for entries in (self._new, self._kept):
            while entries:
                oldest, (used_at, _) = next(iter(entries.items()))
                if used_at + self._idle_seconds >= now:
                    break
                del entries[oldest]
            if entry := entries.pop(session_id, None):
                entries[session_id] = (now, entry[1])
                return entry[1]
        return None

    def _put(self, entries: "_Entries[T]", session_id: str, value: T) -> None:
        entries[session_id] = (self._clock(), value)
        if len(entries) > self._limit:
            entries.popitem(last=False)


type _Entries[T] = OrderedDict[str, tuple[float, T]]
