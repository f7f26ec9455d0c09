"""How much the agent does at once. Beyond that it says that it is busy.

Calls that block have threads of their own, apart by what they wait for; an answer that streams
holds none.
"""

import asyncio
import contextvars
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

ANONYMOUS_AT_ONCE = 300
"""Turns of visitors who are not signed in; a flood of them takes no place of a member."""
MEMBERS_AT_ONCE = 100
TURNS_PER_MEMBER = 10
"""Of these, so that one who sends many messages takes no place or thread of others."""
TURNS_AT_ONCE = ANONYMOUS_AT_ONCE + MEMBERS_AT_ONCE
CODE_REQUEST_THREADS = 5
CODE_ANSWER_THREADS = 3
"""Separate threads, so that answers do not wait behind requests. Few, because each call keeps a
Lambda busy, and a new AWS account runs 10 at once."""
CALLS_PER_ADDRESS = 2
"""Requests, and likewise answers, so that a flood for one address blocks no other."""
THREAD_WAIT_SECONDS = 20
"""Longer than Cognito's time-out of 17 s, so that a call that hangs still makes room."""
READ_THREADS = MEMBERS_AT_ONCE + 10
"""For records and for asking whether somebody is signed in: one for each member, and some for
visitors who are told that they are not."""
BUSY = "Too many visitors are being answered just now. Please try again in a few seconds."
RETRY_AFTER_SECONDS = 5

place_of_turn: ContextVar["Place | None"] = ContextVar("place_of_turn", default=None)


class BusyError(Exception):
    """All places are taken; to be tried again in `RETRY_AFTER_SECONDS`."""


class Place:
    """One of a bounded number of places, held for a turn and for what was begun in it."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back
        self._lock = threading.Lock()
        self._left = False
        self._calls = 0

    def leave(self) -> None:
        """Give it back once the last call has ended, however often this is asked."""
        self._count(left=True)

    def hold_for(self, call: Future[Any]) -> None:
        """Hold it until the call has ended, also when its turn has."""
        self._count(calls=1)
        call.add_done_callback(lambda _: self._count(calls=-1))

    def _count(self, *, left: bool = False, calls: int = 0) -> None:
        with self._lock:
            self._left |= left
            self._calls += calls
            if self._calls or not self._left:
                return
            give_back, self._give_back = self._give_back, None
        if give_back:
            give_back()


def hold_place_for(call: Future[Any]) -> None:
    """Hold the place of the turn that runs, if it has one, until the call has ended."""
    if place := place_of_turn.get():
        place.hold_for(call)


class Places:
    """A bounded number of places.

    Args:
        limit: How many may be taken at once.
        per_owner: How many of them by one owner, if one is named; by default all.
    """

    def __init__(self, limit: int, *, per_owner: int | None = None) -> None:
        self._limit = limit
        self._per_owner = limit if per_owner is None else per_owner
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    def take(self, owner: str = "") -> Place:
        """Take one.

        Raises:
            BusyError: None is free, or the owner has as many as one may.
        """
        with self._lock:
            has_enough = owner and self._taken[owner] >= self._per_owner
            if has_enough or self._taken.total() >= self._limit:
                raise BusyError
            self._taken[owner] += 1
        return Place(lambda: self._give_back(owner))

    def _give_back(self, owner: str) -> None:
        with self._lock:
            self._taken -= Counter([owner])  # and forgets who has none


class Threads:
    """Threads for calls that block.

    Args:
        name: Of the threads.
        limit: How many there may be; they are made as they are needed.
        waiting: How many calls may wait for one, each for `THREAD_WAIT_SECONDS`.
        per_owner: How many calls of one owner there may be, those that wait included.
    """

    def __init__(
        self, name: str, limit: int, *, waiting: int = TURNS_AT_ONCE, per_owner: int | None = None
    ) -> None:
        self._places = Places(limit + waiting, per_owner=per_owner)
        self._executor = ThreadPoolExecutor(limit, name)

    async def run[T](self, call: Callable[[], T], *, owner: str = "") -> T:
        """Call it in a thread.

        It does not return, nor end when it is cancelled, before a call that has begun has ended.

        Args:
            call: What blocks.
            owner: Whom the call is for, if one may have only `per_owner` at once.

        Raises:
            BusyError: Every thread is in a call, and as many wait as may, or this one has waited,
                or the owner has as many as one may.
        """
        place = self._places.take(owner)
        future = self._executor.submit(contextvars.copy_context().run, call)
        future.add_done_callback(lambda _: place.leave())
        hold_place_for(future)
        outcome = asyncio.wrap_future(future)
        try:
            await asyncio.wait([outcome], timeout=THREAD_WAIT_SECONDS)
        finally:
            # Also of a visitor who has left: the chat's next turn finds nothing under way.
            if not (given_up := future.cancel()):
                await asyncio.wait([outcome])
                outcome.exception()  # else asyncio logs one that nobody waits for
        if given_up:
            raise BusyError
        return outcome.result()
