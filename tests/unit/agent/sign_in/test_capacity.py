"""T38: one visitor holds up no other: places, threads, and answers that nobody reads."""

import asyncio
import contextvars
import gc
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from agent.sign_in import capacity
from agent.sign_in.capacity import BusyError, Place, Places, Threads


def test_a_place_is_given_back_once() -> None:
    places = Places(1)
    place = places.take()
    with pytest.raises(BusyError):
        places.take()
    place.leave()
    place.leave()
    places.take()
    with pytest.raises(BusyError):
        places.take()


def test_one_owner_takes_only_so_many_of_the_places() -> None:
    places = Places(3, per_owner=2)
    mallorys = [places.take("mallory"), places.take("mallory")]
    with pytest.raises(BusyError):
        places.take("mallory")
    places.take("ada")
    with pytest.raises(BusyError):
        places.take("bob")
    mallorys[0].leave()
    mallorys[0].leave()
    places.take("bob")
    with pytest.raises(BusyError):
        places.take("mallory")


def test_no_more_places_are_taken_at_once_than_there_are() -> None:
    places = Places(7)

    def take(_: int) -> bool:
        try:
            places.take()
        except BusyError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(take, range(200))) == 7


def test_call_beyond_the_threads_is_refused_at_once_and_not_later() -> None:
    release = threading.Event()

    async def run() -> None:
        threads = Threads("test", 2, waiting=0)
        slow = [asyncio.ensure_future(threads.run(release.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await threads.run(release.wait)
        slow[0].cancel()  # who leaves does not end the call
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await threads.run(release.wait)
        release.set()
        assert await slow[1] is True
        assert await threads.run(lambda: 1) == 1

    asyncio.run(run())


def test_who_leaves_is_held_until_the_call_that_has_begun_has_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Else a chat's next turn would run beside what its last one began."""
    began, release = threading.Event(), threading.Event()

    def call() -> None:
        began.set()
        release.wait()
        raise ValueError("canary")

    async def run() -> None:
        left = asyncio.ensure_future(Threads("test", 1, waiting=0).run(call))
        assert await asyncio.to_thread(began.wait, 5)
        left.cancel()
        await asyncio.sleep(0.05)
        assert not left.done()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await left

    asyncio.run(run())
    gc.collect()
    assert not caplog.messages  # of asyncio's, with the exception's text


def test_one_owner_has_only_so_many_calls() -> None:
    release = threading.Event()

    async def run() -> None:
        threads = Threads("test", 3, waiting=3, per_owner=2)
        floods = [asyncio.ensure_future(threads.run(release.wait, owner="m")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await threads.run(release.wait, owner="m")
        assert await threads.run(lambda: "ada", owner="ada") == "ada"
        others = [asyncio.ensure_future(threads.run(lambda: 1)) for _ in range(3)]
        assert await asyncio.gather(*others) == [1, 1, 1]
        release.set()
        await asyncio.gather(*floods)

    asyncio.run(run())


def test_call_waits_for_a_thread_only_so_long_and_not_for_who_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(capacity, "THREAD_WAIT_SECONDS", 0.05)
    release, called = threading.Event(), list[str]()

    async def run() -> None:
        threads = Threads("test", 1, waiting=2)
        slow = asyncio.ensure_future(threads.run(release.wait))
        await asyncio.sleep(0)
        left = asyncio.ensure_future(threads.run(lambda: called.append("left")))
        await asyncio.sleep(0)
        left.cancel()
        with pytest.raises(BusyError):
            await threads.run(lambda: called.append("late"))
        release.set()
        assert await slow is True
        await threads.run(lambda: called.append("next"))

    asyncio.run(run())
    assert called == ["next"]


def test_place_is_held_until_its_turn_is_left_though_its_calls_have_ended() -> None:
    given_back = list[str]()
    place, call = Place(lambda: given_back.append("back")), Future[None]()
    place.hold_for(call)
    call.set_result(None)
    assert not given_back
    place.leave()
    assert given_back == ["back"]


def test_call_in_a_thread_sees_the_callers_context() -> None:
    """Such as the span that those of its own calls belong to."""
    span = contextvars.ContextVar[str]("span")

    async def run() -> str:
        span.set("turn")
        return await Threads("test", 1, waiting=0).run(span.get)

    assert asyncio.run(run()) == "turn"
