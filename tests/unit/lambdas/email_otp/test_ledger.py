"""The ledger alone: what each write sends, and how it reads AWS's refusals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.email_otp.challenge import Challenge
from lambdas.email_otp.conditional_writes import Table
from lambdas.email_otp.ledger import (
    SEND_WAIT,
    SHORT_CODE_WAIT,
    Joined,
    Ledger,
    Reserved,
    Throttled,
)
from tests.support.aws_stand_in import StandIn
from tests.support.clock import Clock
from tests.support.dynamodb_expressions import holds
from tests.support.triggers import KEY, POOL, Lambdas, aws_clients

DAY = 24 * 3600


@pytest.fixture
def ledger(lambdas: Lambdas) -> Ledger:
    """Return a ledger on an empty table."""
    return lambdas.ledger


def _challenge(clock: Clock, *, digits: int = 6) -> Challenge:
    return Challenge.new(
        KEY, address="ada@example.com", issued_at=int(clock.now), digits=digits, attempts=3
    )


def _reserve(
    ledger: Ledger,
    clock: Clock,
    *,
    same_address: bool = True,
    user: str = "ada",
    cap: int = 1000,
    pool: str = POOL,
) -> Reserved | Joined | Throttled:
    outcome = ledger.reserve(
        user,
        _challenge(clock),
        user_pool_id=pool,
        max_sends_per_hour=cap,
        went_to_same_address=lambda _: same_address,
    )
    if isinstance(outcome, Reserved):
        ledger.delivered(user, outcome, sent=True)
    return outcome


@pytest.mark.parametrize(("gap", "sends"), [(30, 5), (179, 5), (180, 20), (599, 20), (600, 40)])
def test_caps_follow_from_the_gap_between_requests(
    ledger: Ledger, clock: Clock, gap: int, sends: int
) -> None:
    """T10: the first refusal at a steady pace; ten minutes apart there is none."""
    reserved = 0
    for _ in range(40):
        if not isinstance(_reserve(ledger, clock), Reserved):
            break
        reserved += 1
        clock.now += gap
    assert reserved == sends


def test_retry_after_is_the_first_second_that_may_send(ledger: Ledger, clock: Clock) -> None:
    """T10: after the fifth mail within 15 minutes."""
    for _ in range(5):
        _reserve(ledger, clock)
        clock.now += 31
    outcome = _reserve(ledger, clock, same_address=False)
    assert isinstance(outcome, Throttled)
    clock.now += outcome.retry_after_seconds - 1
    assert not isinstance(_reserve(ledger, clock), Reserved)
    clock.now += 1
    assert isinstance(_reserve(ledger, clock), Reserved)


def test_daily_cap_looks_back_24_hours_to_the_second(ledger: Ledger, clock: Clock) -> None:
    """T10: with the last mail too fresh for ten minutes of quiet to let another one through."""
    first_at = clock.now
    for _ in range(19):
        assert isinstance(_reserve(ledger, clock), Reserved)
        clock.now += 600
    clock.now = first_at + DAY - 60
    assert isinstance(_reserve(ledger, clock), Reserved)
    clock.now = first_at + DAY - 1
    assert _reserve(ledger, clock, same_address=False) == Throttled(1)
    clock.now += 1
    assert isinstance(_reserve(ledger, clock), Reserved)


def test_full_stack_asks_to_wait_for_the_next_hour(ledger: Ledger, clock: Clock) -> None:
    """T10b: by the clock's hour, and a user who has a live code still joins it."""
    clock.now = 3600 * 500_000 + 600
    assert isinstance(_reserve(ledger, clock, cap=1), Reserved)
    assert _reserve(ledger, clock, cap=1, user="bob") == Throttled(3000)
    clock.now += 30
    joined = _reserve(ledger, clock, cap=1)
    assert isinstance(joined, Joined)
    assert joined.retry_after_seconds == 2970
    clock.now += 2970
    assert isinstance(_reserve(ledger, clock, cap=1, user="bob"), Reserved)


def test_stacks_that_share_the_table_count_their_own_mails(ledger: Ledger, clock: Clock) -> None:
    """T10b."""
    assert isinstance(_reserve(ledger, clock, cap=1), Reserved)
    assert isinstance(_reserve(ledger, clock, cap=1, user="bob"), Throttled)
    other = "us-east-1_EXAMPLE02"
    assert isinstance(_reserve(ledger, clock, cap=1, user="eve", pool=other), Reserved)
    assert isinstance(_reserve(ledger, clock, cap=1, user="dan", pool=other), Throttled)


def test_refused_stack_spends_nothing_of_the_user(
    ledger: Ledger, aws: StandIn, clock: Clock
) -> None:
    _reserve(ledger, clock, cap=1)
    _reserve(ledger, clock, cap=1, user="bob")
    assert "bob" not in aws.items


def test_items_lapse_soon_after_all_they_remember_and_not_before(
    ledger: Ledger, aws: StandIn, clock: Clock
) -> None:
    """DynamoDB may remove an item from `expires_at` on, every write moves it."""

    def days_left() -> float:
        return (int(aws.items["ada"]["expires_at"]["N"]) - clock.now) / DAY

    challenge = _challenge(clock)
    _reserve(ledger, clock)
    assert 20 <= days_left() <= 22
    clock.now += 100
    assert ledger.count_wrong_answer("ada", challenge)
    assert 20 <= days_left() <= 22
    clock.now += 100
    assert ledger.redeem("ada", challenge, "digest")
    assert 20 <= days_left() <= 22


def test_stacks_count_does_not_lapse_within_its_hour(
    ledger: Ledger, aws: StandIn, clock: Clock
) -> None:
    """T10b: DynamoDB may remove an item from `expires_at` on, and the cap would start anew."""
    _reserve(ledger, clock)
    hour = int(clock.now) // 3600
    assert int(aws.items[f"stack#{POOL}#{hour}"]["expires_at"]["N"]) >= (hour + 1) * 3600


def test_refusal_without_an_item_is_a_plain_no(ledger: Ledger, aws: StandIn, clock: Clock) -> None:
    """AWS sends `Item` only where there was one."""
    reserved = Reserved(_challenge(clock), mails=1)
    ledger.delivered("nobody", reserved, sent=True)
    assert not ledger.has_redeemed("nobody", "digest")
    assert aws.items == {}


def test_long_code_may_be_answered_however_many_answers_were_wrong(
    ledger: Ledger, clock: Clock
) -> None:
    """T02: nobody can lock a guest out."""
    _reserve(ledger, clock)
    long, short = _challenge(clock, digits=10), _challenge(clock)
    assert all(ledger.count_wrong_answer("ada", short) for _ in range(10))
    assert not ledger.count_wrong_answer("ada", short)
    assert not ledger.redeem("ada", short, "digest")
    assert ledger.count_wrong_answer("ada", long)
    assert ledger.redeem("ada", long, "digest")


@given(
    sends=st.lists(st.integers(0, 2 * DAY), max_size=20),
    wrong_answers=st.lists(st.integers(0, 30 * DAY), max_size=10),
    ago=st.sampled_from([0, 29, 30, 599, 600, 899, 900, DAY, 20 * DAY - 1, 20 * DAY]),
)
def test_condition_and_time_of_each_wait_agree(
    sends: list[int], wrong_answers: list[int], ago: int
) -> None:
    """T10: what DynamoDB lets through is what was promised to whoever waits."""
    start = 1_800_000_000
    logs = {"s": sorted(sends, reverse=True), "w": sorted(wrong_answers, reverse=True)}
    item = {f"{log}{i}": start + at for log, ats in logs.items() for i, at in enumerate(ats)}
    now = max([start, *item.values()]) + ago
    table = Table(aws_clients(short_cut=True)[0], "ledger")
    typed = {name: {"N": str(at)} for name, at in item.items()}
    for wait in (SEND_WAIT, SHORT_CODE_WAIT, SEND_WAIT & SHORT_CODE_WAIT):
        ends_at = wait.ends_at(item)
        for second in (now, max(ends_at - 1, start), max(ends_at, start)):
            write = table.write("ada", "SET a=:now", wait.is_over, now=second)
            is_over = holds(wait.is_over, typed, write["ExpressionAttributeValues"])
            assert is_over == (second >= ends_at)
