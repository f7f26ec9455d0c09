"""How an answer reaches its reader: made on one event loop, read on another, bounded throughout."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from typing import override

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from agent.sign_in.capacity import TURNS_AT_ONCE, Place, hold_place_for, place_of_turn
from agent.sign_in.observability import describe
from agent.sign_in.stream import Chunk

UNREAD_CHUNKS = 100
"""How far an answer may run ahead of a slow reader."""
READER_SECONDS = 30
"""A reader who takes nothing for so long is gone."""

_log = logging.getLogger(__name__)


def event(chunk: Chunk) -> bytes:
    """Return a chunk as a server-sent event."""
    return f"data: {json.dumps(chunk, ensure_ascii=False, default=str)}\n\n".encode()


class StreamedAnswer(StreamingResponse):
    """An answer whose turn runs on the event loop it is made on, and holds a place meanwhile."""

    def __init__(self, chunks: AsyncGenerator[bytes], place: Place) -> None:
        self._place = place
        content = from_loop(chunks, asyncio.get_running_loop(), place)
        # It may carry tokens: RFC 6749, section 5.1.
        headers = {"Cache-Control": "no-store"}
        super().__init__(content, headers=headers, media_type="text/event-stream")

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._place.leave()  # also where the browser went before the turn began


class ModelThreads(ThreadPoolExecutor):
    """The default threads of the loop that turns run on; Strands' Bedrock model calls from there.

    A call may outlive its visitor, so it holds their place; there are as many threads as places, so
    that none waits.
    """

    def __init__(self) -> None:
        super().__init__(TURNS_AT_ONCE, "model")

    @override
    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        call = super().submit(fn, *args, **kwargs)
        hold_place_for(call)
        return call


async def from_loop(
    chunks: AsyncGenerator[bytes], loop: asyncio.AbstractEventLoop, place: Place
) -> AsyncGenerator[bytes]:
    """Pass on what is made on another event loop, without a thread.

    Args:
        chunks: Closed when they end, when nobody reads any more, or after `READER_SECONDS`.
        loop: Where `chunks` runs.
        place: Left at that moment.
    """
    here = asyncio.get_running_loop()
    received: asyncio.Queue[bytes | None] = asyncio.Queue()
    room = asyncio.Semaphore(UNREAD_CHUNKS)  # used on the other loop alone

    async def produce() -> None:
        place_of_turn.set(place)
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    try:
                        async with asyncio.timeout(READER_SECONDS):
                            await room.acquire()
                    except TimeoutError:
                        _log.info("answer not read", extra={"outcome": "given_up"})
                        return
                    here.call_soon_threadsafe(received.put_nowait, chunk)
        except Exception as error:
            _log.error("reply failed", extra=describe(error))
        finally:
            place.leave()
            here.call_soon_threadsafe(received.put_nowait, None)

    producing = asyncio.run_coroutine_threadsafe(produce(), loop)
    try:
        while (chunk := await received.get()) is not None:
            yield chunk
            loop.call_soon_threadsafe(room.release)
    finally:
        producing.cancel()
