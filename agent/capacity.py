"""How much the agent does at once, all sizes in one place, and what happens beyond: it says so.

Calls that block have threads of their own, apart by what they wait for; an answer that streams
holds none.
"""

import asyncio
import contextvars
import logging
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

ANONYMOUS_AT_ONCE = 300
"""Turns of visitors who are not signed in; a flood of them takes no place of a member."""
MEMBERS_AT_ONCE = 100
TURNS_AT_ONCE = ANONYMOUS_AT_ONCE + MEMBERS_AT_ONCE
SIGN_IN_THREADS = 8
"""Further sign-ins wait: each keeps a Lambda busy, of which a new AWS account runs 10 at once."""
READ_THREADS = 100
"""For records and for asking whether somebody is signed in: no slow sign-in holds these."""
WAIT_SECONDS = 20
"""For a thread. Cognito's time-out ends the calls that hold them after 17 s."""
VERIFYING_THREADS = 64
"""For tokens under made-up key ids, which wait for a slow key endpoint."""
BUSY = "Too many visitors are being answered just now. Please try again in a few seconds."
RETRY_AFTER_SECONDS = 5
UNREAD_CHUNKS = 100
"""How far an answer may run ahead of a slow reader."""
READER_SECONDS = 30
"""A reader who takes nothing for so long is gone."""

_log = logging.getLogger(__name__)


class BusyError(Exception):
    """All places are taken; to be tried again in `RETRY_AFTER_SECONDS`."""


class Place:
    """One of a bounded number of places; given back once, however often that is asked."""

    def __init__(self, places: threading.Semaphore) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._taken = True

    def leave(self) -> None:
        """Give it back."""
        with self._lock:
            taken, self._taken = self._taken, False
        if taken:
            self._places.release()


class Places:
    """A bounded number of places.

    Args:
        limit: How many may be taken at once.
    """

    def __init__(self, limit: int) -> None:
        self._free = threading.Semaphore(limit)

    def take(self) -> Place:
        """Take one.

        Raises:
            BusyError: None is free.
        """
        if not self._free.acquire(blocking=False):
            raise BusyError
        return Place(self._free)


class Threads:
    """Threads for calls that block.

    Args:
        name: Of the threads.
        limit: How many there may be; they are made as they are needed.
        waiting: How many calls may wait for one, each for `WAIT_SECONDS`.
    """

    def __init__(self, name: str, limit: int, *, waiting: int = 0) -> None:
        self._places = Places(limit + waiting)
        self._executor = ThreadPoolExecutor(limit, name)

    async def run[T](self, call: Callable[[], T]) -> T:
        """Call it in a thread. Who stops waiting ends no call that has begun.

        Raises:
            BusyError: Every thread is in a call, and as many wait as may, or this one has waited.
        """
        place = self._places.take()
        future = self._executor.submit(contextvars.copy_context().run, call)
        future.add_done_callback(lambda _: place.leave())
        waiting = asyncio.wrap_future(future)
        try:
            done, _ = await asyncio.wait([waiting], timeout=WAIT_SECONDS)
            if not done and future.cancel():  # which a call that has begun refuses
                raise BusyError
            return await waiting
        finally:
            waiting.cancel()


async def from_loop(
    chunks: AsyncGenerator[bytes], loop: asyncio.AbstractEventLoop, *, ended: Callable[[], None]
) -> AsyncGenerator[bytes]:
    """Pass on what is made on another event loop, without a thread.

    Args:
        chunks: Closed when it has ended, when nobody reads on, or after `READER_SECONDS`.
        loop: Where `chunks` runs.
        ended: Called there when that is so.
    """
    here = asyncio.get_running_loop()
    received: asyncio.Queue[bytes | None] = asyncio.Queue()
    room = asyncio.Semaphore(UNREAD_CHUNKS)  # used on the other loop alone

    async def produce() -> None:
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    async with asyncio.timeout(READER_SECONDS):
                        await room.acquire()
                    here.call_soon_threadsafe(received.put_nowait, chunk)
        except TimeoutError:
            _log.info("answer not read", extra={"outcome": "given_up"})
        finally:
            ended()
            here.call_soon_threadsafe(received.put_nowait, None)

    producing = asyncio.run_coroutine_threadsafe(produce(), loop)
    try:
        while (chunk := await received.get()) is not None:
            yield chunk
            loop.call_soon_threadsafe(room.release)
    finally:
        producing.cancel()
