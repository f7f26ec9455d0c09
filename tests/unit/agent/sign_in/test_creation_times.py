"""T41: who is known, and who is refused, takes as long as who is new."""

from collections.abc import Sequence

import pytest

from agent.sign_in.creation_times import USUAL_SECONDS, CreationTimes
from tests.support.clock import Clock


def test_t41_wait_is_drawn_from_the_last_twenty_creations(clock: Clock, waits: list[float]) -> None:
    drawn_from: list[list[float]] = []

    def third(seconds: Sequence[float]) -> float:
        drawn_from.append([*seconds])
        return seconds[2]

    times = CreationTimes(now=clock, sleep=waits.append, choose=third)
    for seconds in range(1, 26):
        began_at = times.now()
        clock.now += seconds
        times.note(began_at)
    times.wait(clock.now - 3)
    assert drawn_from == [[*range(6, 26)]]
    assert waits == [8 - 3]


def test_t41_draws_are_random(clock: Clock, waits: list[float]) -> None:
    times = CreationTimes(now=clock, sleep=waits.append)
    for seconds in (1, 2):
        times.note(clock.now - seconds)
    for _ in range(200):
        times.wait(clock.now)
    assert {*waits} == {1, 2}


def test_t41_before_any_creation_the_wait_is_fixed(clock: Clock, waits: list[float]) -> None:
    CreationTimes(now=clock, sleep=waits.append).wait(clock.now)
    assert waits == [pytest.approx(USUAL_SECONDS)]


def test_who_has_taken_longer_waits_no_more(clock: Clock, waits: list[float]) -> None:
    CreationTimes(now=clock, sleep=waits.append).wait(clock.now - 5)
    assert waits == [0]
