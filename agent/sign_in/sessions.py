"""What is remembered for a while, such as chats, bounded in number and age."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class _Entry[T]:
    value: T
    used_at: float
    owner: str = ""


class Sessions[T]:
    """A map that forgets the least recently used, so that a flood displaces its own entries.

    New entries push out only new ones. Of those that `keep` was called for, the owner of most loses
    one. Losing an entry is always safe: the visitor starts that part again.

    Args:
        limit: Most new entries held at once, and most that are kept.
        idle_seconds: An entry not used for longer is forgotten.
        clock: Epoch seconds.
    """

    def __init__(self, *, limit: int, idle_seconds: float, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._new: OrderedDict[str, _Entry[T]] = OrderedDict()
        self._kept: OrderedDict[str, _Entry[T]] = OrderedDict()
        self._held: Counter[str] = Counter()  # by owner

    def __len__(self) -> int:
        return len(self._new) + len(self._kept)

    def find(self, key: str) -> T | None:
        """Return the key's value and mark it used, or None; make none."""
        with self._lock:
            return self._used(key)

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return the key's value, made if it is new or forgotten, and mark it used."""
        with self._lock:
            value = self._used(key)
            if value is None:
                value = make()
                self._new[key] = _Entry(value, self._clock())
                if len(self._new) > self._limit:
                    self._new.popitem(last=False)
            return value

    def keep(self, key: str, value: T, *, owner: str) -> None:
        """Keep an entry whose owner is known, such as by an address that a code was sent to."""
        with self._lock:
            self._forget(key)
            self._kept[key] = _Entry(value, self._clock(), owner)
            self._held[owner] += 1
            if len(self._kept) > self._limit:
                most = max(self._held.values())
                of_most = (s for s, kept in self._kept.items() if self._held[kept.owner] == most)
                self._forget(next(of_most))

    def _used(self, key: str) -> T | None:
        now = self._clock()
        for entries in (self._new, self._kept):
            while entries:
                oldest, entry = next(iter(entries.items()))
                if entry.used_at + self._idle_seconds >= now:
                    break
                self._forget(oldest)
            if known := entries.get(key):
                known.used_at = now
                entries.move_to_end(key)
                return known.value
        return None

    def _forget(self, key: str) -> None:
        self._new.pop(key, None)
        if entry := self._kept.pop(key, None):
            self._held[entry.owner] -= 1
            if not self._held[entry.owner]:
                del self._held[entry.owner]
