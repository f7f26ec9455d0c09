"""How an answer reaches its reader."""

import asyncio
import threading
from collections.abc import AsyncGenerator

import pytest

from agent.service import streaming
from agent.service.streaming import ModelThreads, from_loop
from agent.sign_in.capacity import Place, Places


async def numbers(count: int, closed: threading.Event) -> AsyncGenerator[bytes]:
    try:
        for number in range(count):
            yield str(number).encode()
    finally:
        closed.set()


def on_another_loop(test: AsyncGenerator[bytes], ended: threading.Event) -> AsyncGenerator[bytes]:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return from_loop(test, loop, Place(ended.set))


def test_all_chunks_come_in_order_from_the_other_loop() -> None:
    closed, ended = threading.Event(), threading.Event()

    async def run() -> list[bytes]:
        async with asyncio.timeout(5):  # which a reader who is given up would exceed
            return [chunk async for chunk in on_another_loop(numbers(1_000, closed), ended)]

    assert asyncio.run(run()) == [str(number).encode() for number in range(1_000)]
    assert closed.wait(5)
    assert ended.wait(5)


def test_reader_who_leaves_ends_the_answer() -> None:
    closed, ended = threading.Event(), threading.Event()

    async def run() -> None:
        chunks = on_another_loop(numbers(10**9, closed), ended)
        assert await anext(chunks) == b"0"
        await chunks.aclose()
        assert await asyncio.to_thread(closed.wait, 5)
        assert await asyncio.to_thread(ended.wait, 5)

    asyncio.run(run())


def test_reader_who_takes_nothing_holds_no_place_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "READER_SECONDS", 0.05)
    closed, ended = threading.Event(), threading.Event()

    async def run() -> None:
        chunks = on_another_loop(numbers(10**9, closed), ended)
        assert await anext(chunks) == b"0"
        assert await asyncio.to_thread(ended.wait, 5)
        assert closed.is_set()
        assert len([chunk async for chunk in chunks]) <= streaming.UNREAD_CHUNKS

    asyncio.run(run())


def test_models_call_that_goes_on_holds_the_place_of_who_left() -> None:
    """Else who asks and leaves has any number of calls under way."""
    release, ended = threading.Event(), threading.Event()

    async def asks() -> AsyncGenerator[bytes]:
        asyncio.get_running_loop().set_default_executor(ModelThreads())
        call = asyncio.create_task(asyncio.to_thread(release.wait, 5))
        yield b"begun"
        await asyncio.shield(call)

    async def run() -> None:
        chunks = on_another_loop(asks(), ended)
        assert await anext(chunks) == b"begun"
        await chunks.aclose()
        assert not await asyncio.to_thread(ended.wait, 0.1)
        release.set()
        assert await asyncio.to_thread(ended.wait, 5)

    asyncio.run(run())


def test_answer_that_fails_ends_and_is_logged_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def failing() -> AsyncGenerator[bytes]:
        yield b"one"
        raise ValueError("canary")

    async def run() -> list[bytes]:
        loop = asyncio.get_running_loop()
        return [chunk async for chunk in from_loop(failing(), loop, Places(1).take())]

    assert asyncio.run(run()) == [b"one"]
    assert caplog.messages == ["reply failed"]
    assert "canary" not in caplog.text
