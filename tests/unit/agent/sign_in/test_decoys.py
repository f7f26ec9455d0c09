"""T39: a user who may not sign in is not told apart by when codes may be asked for."""

import pytest

from agent.sign_in import decoys as rules
from agent.sign_in.decoys import Decoy, Decoys
from agent.sign_in.outcomes import CodeSent, ErrorCode, Refused
from lambdas.email_otp import ledger
from tests.support.clock import NOW, Clock
from tests.support.fakes import FakeCognito
from tests.support.logins import Logins


def test_t39_three_requests_within_seconds_bring_one_new_mail(
    login: Logins, cognito: FakeCognito, clock: Clock
) -> None:
    """T39: from three chats, as for a guest, who joins the code that is out."""
    cognito.disabled.add("dis@example.com")
    heard = []
    for chat in ("one", "two", "three"):
        heard.append(login.request_code(chat, email="dis@example.com"))
        clock.now += 2
    told = [(s.new_mail, s.retry_after_seconds) for s in heard if isinstance(s, CodeSent)]
    lives = [s.expires_in_seconds for s in heard if isinstance(s, CodeSent)]
    assert told == [(True, 30), (False, 28), (False, 26)]
    assert lives == [300, 298, 296]


def test_t39_too_many_requests_are_refused_as_a_guests_are(
    login: Logins, cognito: FakeCognito, clock: Clock
) -> None:
    """T39: five mails in 15 minutes, and then none while none is out."""
    cognito.disabled.add("dis@example.com")
    for _ in range(5):
        assert isinstance(login.request_code("chat", email="dis@example.com"), CodeSent)
        clock.now += 31
    clock.now += 280
    refused = login.request_code("chat", email="dis@example.com")
    assert refused == Refused(error_code=ErrorCode.RATE_LIMITED, retry_after_seconds=289)
    clock.now += 289
    again = login.request_code("chat", email="dis@example.com")
    assert isinstance(again, CodeSent)
    assert again.new_mail


def test_t39_address_of_another_is_not_concerned(clock: Clock) -> None:
    decoys = Decoys(clock)
    first = decoys.ask("dis@example.com", life_seconds=60)
    assert first == decoys.ask("bad@example.com", life_seconds=60) == Decoy(NOW + 60, 30)


def test_t39_twentieth_mail_of_a_day_is_the_last_but_for_quiet_times(clock: Clock) -> None:
    decoys = Decoys(clock)
    for _ in range(20):
        assert decoys.ask("dis@example.com", life_seconds=60).retry_after_seconds == 30
        clock.now += 300  # 5 in 15 minutes are not reached
    assert decoys.ask("dis@example.com", life_seconds=60) == Decoy(None, 300)
    clock.now += 300
    assert decoys.ask("dis@example.com", life_seconds=60).expires_at == clock.now + 60


def test_t39_fifth_mail_of_a_quarter_hour_has_its_cooldown_too(clock: Clock) -> None:
    decoys = Decoys(clock)
    for pause in (300, 300, 255, 30, 5):
        assert decoys.ask("dis@example.com", life_seconds=60).retry_after_seconds == 30
        clock.now += pause
    # The first of the five is forgotten in 10 s, the cooldown of the last ends in 25.
    assert decoys.ask("dis@example.com", life_seconds=60).retry_after_seconds == 25


def test_t39_day_is_remembered_while_nothing_is_asked_for(clock: Clock) -> None:
    decoys = Decoys(clock)
    for _ in range(20):
        decoys.ask("dis@example.com", life_seconds=60)
        clock.now += 4_000
    decoys.ask("dis@example.com", life_seconds=60)
    clock.now += 31
    assert decoys.ask("dis@example.com", life_seconds=60) == Decoy(int(clock.now) + 29, 569)


@pytest.mark.parametrize(
    "name",
    [
        "COOLDOWN_SECONDS",
        "BURST_SENDS",
        "BURST_SECONDS",
        "DAILY_SENDS",
        "DAILY_SECONDS",
        "QUIET_SECONDS",
    ],
)
def test_t39_decoys_keep_the_ledgers_own_rules(name: str) -> None:
    assert getattr(rules, name) == getattr(ledger, name)


def test_t39_fractions_of_a_second_are_not_told(clock: Clock) -> None:
    decoys = Decoys(clock)
    clock.now += 0.75
    assert decoys.ask("dis@example.com", life_seconds=60) == Decoy(NOW + 60, 30)
    clock.now += 1
    assert decoys.ask("dis@example.com", life_seconds=60) == Decoy(NOW + 60, 29)


def test_t39_mail_of_long_ago_is_none_of_the_five(clock: Clock) -> None:
    decoys = Decoys(clock)
    decoys.ask("dis@example.com", life_seconds=60)
    clock.now += 2_000
    for _ in range(5):
        assert decoys.ask("dis@example.com", life_seconds=60).retry_after_seconds == 30
        clock.now += 31
    assert decoys.ask("dis@example.com", life_seconds=60).retry_after_seconds == 569
