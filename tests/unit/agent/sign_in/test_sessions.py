"""The bounded memory of sessions."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count

from agent.sign_in.sessions import Sessions
from tests.support.clock import Clock


class Numbered(Sessions[int]):
    """Gives each new session the next number."""

    def __init__(self, clock: Clock, *, limit: int = 10) -> None:
        super().__init__(limit=limit, idle_seconds=60, clock=clock)
        self._numbers = count(1)

    def get(self, session_id: str, make: Callable[[], int] | None = None) -> int:
        return super().get(session_id, make or (lambda: next(self._numbers)))


def test_a_session_keeps_its_value(clock: Clock) -> None:
    sessions = Numbered(clock)
    assert [sessions.get("a"), sessions.get("b"), sessions.get("a")] == [1, 2, 1]


def test_use_keeps_a_session_alive_and_idling_forgets_it(clock: Clock) -> None:
    sessions = Numbered(clock)
    sessions.get("a")
    sessions.get("b")
    clock.now += 50
    sessions.get("a")
    clock.now += 60
    assert sessions.get("a") == 1
    assert len(sessions) == 1
    clock.now += 61
    assert sessions.get("a") == 3


def test_first_uses_at_once_share_one_value(clock: Clock) -> None:
    def make() -> object:
        time.sleep(0.05)
        return object()

    sessions: Sessions[object] = Sessions(limit=10, idle_seconds=60, clock=clock)
    with ThreadPoolExecutor(4) as pool:
        values = set(pool.map(lambda _: sessions.get("a", make), range(4)))
    assert values == {sessions.get("a", make)}


def test_the_least_recently_used_goes_first(clock: Clock) -> None:
    sessions = Numbered(clock, limit=2)
    for session_id in ("a", "b", "a", "c"):
        sessions.get(session_id)
    assert len(sessions) == 2
    assert sessions.get("a") == 1
    assert sessions.get("b") == 4


def test_finding_makes_no_session_and_keeps_a_known_one_alive(clock: Clock) -> None:
    sessions = Numbered(clock, limit=2)
    assert sessions.find("a") is None
    assert len(sessions) == 0
    for session_id in ("a", "b"):
        sessions.get(session_id)
    assert sessions.find("a") == 1
    sessions.get("c")
    assert sessions.find("b") is None


def test_t38_flood_of_new_sessions_displaces_none_that_is_kept(clock: Clock) -> None:
    """T38: nor one that is kept when the flood has displaced it already."""
    sessions = Numbered(clock, limit=3)
    kept = sessions.get("a")
    sessions.keep("a", kept, owner="ada")
    late = sessions.get("b")
    for number in range(100):
        sessions.get(f"flood-{number}")
    sessions.keep("b", late, owner="bob")
    for number in range(100):
        sessions.get(f"flood-{number}")
    assert [sessions.find("a"), sessions.find("b")] == [kept, late]
    assert len(sessions) == 5


def test_t38_what_is_kept_is_bounded_and_ends_too(clock: Clock) -> None:
    sessions = Numbered(clock, limit=3)
    for number in range(10):
        sessions.keep(f"kept-{number}", number, owner=f"owner-{number}")
    assert [sessions.find(f"kept-{number}") for number in (6, 7, 8, 9)] == [None, 7, 8, 9]
    clock.now += 61
    assert sessions.find("kept-9") is None
    assert len(sessions) == 0


def test_t38_who_keeps_most_displaces_their_own_alone(clock: Clock) -> None:
    """T38: one token, or one address, opens any number of sessions."""
    sessions = Numbered(clock, limit=4)
    sessions.keep("a", 1, owner="ada")
    sessions.keep("b", 2, owner="bob")
    for number in range(100):
        sessions.keep(f"flood-{number}", number, owner="mallory")
    assert [sessions.find("a"), sessions.find("b")] == [1, 2]
    assert [sessions.find(f"flood-{number}") for number in (97, 98, 99)] == [None, 98, 99]
    sessions.keep("c", 3, owner="cyd")
    assert [sessions.find("c"), sessions.find("flood-98")] == [3, None]


def test_what_is_kept_again_counts_once(clock: Clock) -> None:
    sessions = Numbered(clock, limit=2)
    value = sessions.get("a")
    for _ in range(3):
        sessions.keep("a", value, owner="ada")
    assert len(sessions) == 1
    sessions.keep("b", 2, owner="bob")
    sessions.find("a")
    sessions.keep("c", 3, owner="cyd")  # nobody has two: who was used least recently goes
    assert [sessions.find(s) for s in ("a", "b", "c")] == [value, None, 3]
