"""The ledger alone: what each write sends, and how it reads AWS's refusals."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from hypothesis import given
from hypothesis import strategies as st

from lambdas.email_otp import deadline
from lambdas.email_otp.budgets import Budget
from lambdas.email_otp.challenge import LONG_CODE_DIGITS, Challenge
from lambdas.email_otp.conditional_writes import named
from lambdas.email_otp.ledger import (
    SEND_WAIT,
    SHORT_CODE_WAIT,
    Joined,
    Ledger,
    Look,
    Outcome,
    Reservation,
    Reserved,
    Throttled,
)
from tests.support.aws_stand_in import COUNT_MAIL, Died, Fault, Refusal, StandIn, refuse
from tests.support.clock import Clock
from tests.support.dynamodb_expressions import holds
from tests.support.triggers import KEY, POOL, Lambdas

DAY = 24 * 3600
RETURNING = Budget(user_pool_id=POOL, counter="sends", max_sends=1000, max_newcomer_sends=200)


@pytest.fixture
def ledger(lambdas: Lambdas) -> Iterator[Ledger]:
    """Return a ledger on an empty table, as in a trigger that has begun."""
    with deadline.begun():
        yield lambdas.ledger


def _challenge(clock: Clock, *, digits: int = 6) -> Challenge:
    return Challenge.new(
        KEY, address="ada@example.com", issued_at=int(clock.now), digits=digits, attempts=3
    )


def _reserve(ledger: Ledger, clock: Clock, **given: Any) -> Outcome:
    return _reservation(ledger, clock, **given).outcome


def _reservation(
    ledger: Ledger,
    clock: Clock,
    *,
    same_address: bool = True,
    user: str = "ada",
    cap: int = 1000,
    pool: str = POOL,
    **budget: Any,
) -> Reservation:
    reservation = ledger.reserve(
        user,
        _challenge(clock),
        budget=replace(RETURNING, user_pool_id=pool, max_sends=cap, **budget),
        went_to_same_address=lambda _: same_address,
    )
    if isinstance(reservation.outcome, Reserved):
        ledger.delivered(reservation.outcome, sent=True)
    return reservation


def _sends_counted(aws: StandIn) -> int:
    return _counted(aws, "sends")


def _counted(aws: StandIn, counter: str) -> int:
    hours = [item for key, item in aws.items.items() if key.startswith("stack#")]
    return sum(int(item.get(counter, {"N": "0"})["N"]) for item in hours)


def _connection_closes(aws: StandIn, operation: str) -> Fault:
    """Make a fault that comes once: a call is carried out, and its answer lost."""

    def fault() -> None:
        del aws.after[operation]
        raise ConnectionClosedError(endpoint_url="https://dynamodb.us-east-1.amazonaws.com")

    return fault


def _die_at_the_count(ledger: Ledger, aws: StandIn, clock: Clock, at: str) -> None:
    """Die before the first write of a first round, or between the two."""

    def die() -> None:
        raise Died

    faults: dict[str, Fault] = getattr(aws, at)
    faults[COUNT_MAIL] = die
    with pytest.raises(Died):
        _reserve(ledger, clock)
    del faults[COUNT_MAIL]


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


def _is_decoy(outcome: Outcome) -> bool:
    return isinstance(outcome, Reserved) and outcome.challenge.is_decoy


def test_full_hour_shows_decoys_until_the_next(ledger: Ledger, clock: Clock) -> None:
    """T10b and T41: by the clock's hour, and everybody hears that it is busy."""
    clock.now = 3600 * 500_000 + 600
    for user in ("ada", "eve"):  # who takes the last one, hears as little of it as nobody would
        sent = _reservation(ledger, clock, cap=2, user=user)
        assert not _is_decoy(sent.outcome)
        assert (sent.busy, sent.refused_by) == (False, None)
    for user in ("bob", "bob", "dan"):
        refused = _reservation(ledger, clock, cap=2, user=user)
        assert (refused.busy, refused.refused_by) == (True, "hour")
        assert not isinstance(refused.outcome, Throttled)
        assert refused.outcome.challenge.is_decoy
    clock.now += 3000
    again = _reservation(ledger, clock, cap=2, user="bob")
    assert isinstance(again.outcome, Reserved)
    assert not again.outcome.challenge.is_decoy
    assert not again.busy


def test_decoy_is_joined_as_a_code_would_be(ledger: Ledger, clock: Clock) -> None:
    """T39 and T41: the same look for 30 s, then a new one."""
    _reserve(ledger, clock, cap=1, user="eve")
    first = _reserve(ledger, clock, cap=1)
    assert isinstance(first, Reserved)
    clock.now += 10
    joined = _reserve(ledger, clock, cap=1)
    assert isinstance(joined, Joined)
    assert joined.look == first.look
    assert joined.retry_after_seconds == 20
    clock.now += 20
    assert _is_decoy(_reserve(ledger, clock, cap=1))


def test_newcomers_and_guests_have_mails_of_their_own(ledger: Ledger, clock: Clock) -> None:
    """T41: no flood of newcomers takes a returning guest's mail, and both hear of it."""
    for number in range(5):
        user = f"new{number}"
        asked = _reservation(
            ledger, clock, user=user, counter="newcomer_sends", max_newcomer_sends=3
        )
        assert _is_decoy(asked.outcome) is (number >= 3)
        assert asked.busy is (number >= 3)
    returning = _reservation(ledger, clock, max_newcomer_sends=3)
    assert isinstance(returning.outcome, Reserved)
    assert not returning.outcome.challenge.is_decoy
    assert returning.busy
    unknown = _reservation(
        ledger, clock, user="unknown#1", counter="unknown_sends", max_newcomer_sends=3
    )
    assert unknown.busy


def test_users_who_do_not_exist_cost_no_budget(ledger: Ledger, aws: StandIn, clock: Clock) -> None:
    """T41."""
    for number in range(50):
        asked = _reservation(
            ledger, clock, user=f"unknown#{number}", counter="unknown_sends", cap=1
        )
        assert (asked.busy, asked.refused_by) == (False, None)
    assert isinstance(_reserve(ledger, clock, cap=1), Reserved)
    assert _counted(aws, "unknown_sends") == 50


def test_one_mailbox_is_sent_five_an_hour(ledger: Ledger, aws: StandIn, clock: Clock) -> None:
    """T43: however many users share it; who is beyond costs nobody else a mail."""
    for number in range(8):
        asked = _reservation(
            ledger, clock, user=f"victim{number}", counter="newcomer_sends", mailbox="d1"
        )
        assert asked.refused_by == ("mailbox" if number >= 5 else None)
        assert _is_decoy(asked.outcome) is (number >= 5)
    assert _counted(aws, "newcomer_sends") == 5
    other = _reserve(ledger, clock, user="other", counter="newcomer_sends", mailbox="d2")
    assert not _is_decoy(other)
    clock.now += 3600
    again = _reserve(ledger, clock, user="victim9", counter="newcomer_sends", mailbox="d1")
    assert not _is_decoy(again)


def test_round_that_mails_nothing_takes_nothing_from_the_mailbox(
    ledger: Ledger, aws: StandIn, clock: Clock
) -> None:
    """T43: else whoever asks again and again keeps a newcomer out for an hour."""
    for _ in range(10):
        _reserve(ledger, clock, counter="newcomer_sends", mailbox="d1")
    [mailbox] = [item for key, item in aws.items.items() if key.startswith("mailbox#")]
    assert mailbox["sends"] == {"N": "1"}


def test_user_about_to_be_forgotten_is_sent_nothing(
    ledger: Ledger, aws: StandIn, clock: Clock
) -> None:
    """T45: between the decision and the deletion."""
    aws.items["ada"] = {"sub": {"S": "ada"}, "forgotten_at": {"N": str(int(clock.now))}}
    assert _reserve(ledger, clock) == Throttled(30)
    clock.now += 30
    assert isinstance(_reserve(ledger, clock), Reserved)


def test_decoy_of_a_user_with_long_codes_looks_long(ledger: Ledger, clock: Clock) -> None:
    """T41."""
    assert all(ledger.count_wrong_answer("ada", _challenge(clock)) for _ in range(10))
    _reserve(ledger, clock, cap=1, user="eve")
    decoy = _reserve(ledger, clock, cap=1)
    assert isinstance(decoy, Reserved)
    assert decoy.challenge.is_decoy
    assert decoy.challenge.is_long


def test_stacks_that_share_the_table_count_their_own_mails(ledger: Ledger, clock: Clock) -> None:
    """T10b."""
    assert not _is_decoy(_reserve(ledger, clock, cap=1))
    assert _is_decoy(_reserve(ledger, clock, cap=1, user="bob"))
    other = "us-east-1_EXAMPLE02"
    assert not _is_decoy(_reserve(ledger, clock, cap=1, user="eve", pool=other))
    assert _is_decoy(_reserve(ledger, clock, cap=1, user="dan", pool=other))


def test_full_hour_keeps_the_code_that_is_out(ledger: Ledger, clock: Clock) -> None:
    """T10b: whoever asks again is told of a new life, and the code that they have works its own."""
    clock.now = 3600 * 500_000 + 600
    mailed = _reserve(ledger, clock, cap=1)
    assert isinstance(mailed, Reserved)
    for wait in (31, 0, 31, 0):
        clock.now += wait
        again = _reserve(ledger, clock, cap=1)
        assert not isinstance(again, Throttled)
        assert again.challenge.id == mailed.challenge.id
        assert again.look.shown_at == clock.now
    clock.now += 300 - 62
    over = _reserve(ledger, clock, cap=1)
    assert not isinstance(over, Throttled)
    assert over.challenge.is_decoy


@pytest.mark.parametrize("end", ["time", "answers", "redeemed", "address"])
def test_full_hour_keeps_no_code_that_is_over(ledger: Ledger, clock: Clock, end: str) -> None:
    """T41: a decoy takes its place."""
    mailed = _reserve(ledger, clock)
    assert isinstance(mailed, Reserved)
    match end:
        case "time":
            clock.now += 270
        case "answers":
            assert all(ledger.count_wrong_answer("ada", mailed.challenge) for _ in range(10))
        case "redeemed":
            assert ledger.redeem("ada", mailed.challenge, "digest")
    clock.now += 30
    moved = Challenge.new(
        KEY, address="ada@example.net", issued_at=int(clock.now), digits=6, attempts=3
    )
    reservation = ledger.reserve(
        "ada",
        moved if end == "address" else _challenge(clock),
        budget=replace(RETURNING, max_sends=0),
        went_to_same_address=lambda other: other.address_digest == moved.address_digest,
    )
    assert _is_decoy(reservation.outcome)


@pytest.mark.parametrize("wait", [31, 4])
@pytest.mark.parametrize("fate", ["failed", "sending"])
def test_full_hour_mails_nothing_once_more(
    ledger: Ledger, aws: StandIn, clock: Clock, fate: str, wait: int
) -> None:
    """T10b and T33: neither a new mail nor the old one; it is pretended, as to nobody."""
    reserved = _reserve(ledger, clock)
    aws.items["ada"]["delivery"] = {"S": fate}
    clock.now += wait
    again = _reserve(ledger, clock, cap=1)
    assert isinstance(reserved, Reserved)
    assert isinstance(again, Reserved)
    assert again.pretended
    # What was perhaps mailed stays good where a new mail would have come.
    assert (again.challenge.id == reserved.challenge.id) is (fate == "sending" and wait == 31)


def test_user_beyond_their_own_limits_takes_nothing_from_the_hour(
    ledger: Ledger, aws: StandIn, clock: Clock
) -> None:
    """T10b: else one address could use up everybody's mails."""
    _reserve(ledger, clock)
    aws.calls.clear()
    assert isinstance(_reserve(ledger, clock), Joined)
    assert isinstance(_reserve(ledger, clock, same_address=False), Throttled)
    assert aws.calls == [COUNT_MAIL, "UpdateItem", COUNT_MAIL] * 2
    assert _sends_counted(aws) == 1


def test_mail_that_cannot_be_given_back_stays_counted(
    ledger: Ledger, aws: StandIn, clock: Clock
) -> None:
    """T12: the guest joins all the same."""
    _reserve(ledger, clock)

    def fails() -> None:
        if aws.calls.count(COUNT_MAIL) == 3:
            raise Refusal("ThrottlingException")

    aws.faults[COUNT_MAIL] = fails
    assert isinstance(_reserve(ledger, clock), Joined)
    assert _sends_counted(aws) == 2


def test_mail_is_given_back_once_though_the_answer_is_lost(
    ledger: Ledger, aws: StandIn, clock: Clock
) -> None:
    """T10b and T12: twice would let one mail too many go."""
    _reserve(ledger, clock)
    _reserve(ledger, clock, user="bob")

    def closes() -> None:
        if aws.calls.count(COUNT_MAIL) == 4:
            raise ConnectionClosedError(endpoint_url="https://dynamodb.us-east-1.amazonaws.com")

    aws.after[COUNT_MAIL] = closes
    assert isinstance(_reserve(ledger, clock), Joined)
    assert _sends_counted(aws) == 2


def test_hour_is_that_of_the_send_though_it_ends_meanwhile(
    ledger: Ledger, aws: StandIn, clock: Clock
) -> None:
    """T10b: one time for both writes."""
    clock.now = 3600 * 500_000 - 1

    def hour_ends() -> None:
        clock.now += 1

    aws.after[COUNT_MAIL] = hour_ends
    assert isinstance(_reserve(ledger, clock), Reserved)
    assert isinstance(_reserve(ledger, clock), Joined)
    assert aws.items["ada"]["s0"] == {"N": str(3600 * 500_000 - 1)}
    sends = {key: item["sends"] for key, item in aws.items.items() if key.startswith("stack#")}
    assert sends == {f"stack#{POOL}#499999": {"N": "1"}, f"stack#{POOL}#500000": {"N": "0"}}


def test_lost_answer_of_the_send_is_the_send(ledger: Ledger, aws: StandIn, clock: Clock) -> None:
    """T12: the try after it is refused by the first."""
    aws.after["UpdateItem"] = _connection_closes(aws, "UpdateItem")
    assert isinstance(_reserve(ledger, clock), Reserved)
    assert _sends_counted(aws) == 1


def test_lost_answer_of_the_count_is_one_mail_counted_twice(
    ledger: Ledger, aws: StandIn, clock: Clock
) -> None:
    """T10b and T12: rather than a mail that is not counted."""
    aws.after[COUNT_MAIL] = _connection_closes(aws, COUNT_MAIL)
    assert isinstance(_reserve(ledger, clock), Reserved)
    assert _sends_counted(aws) == 2


def test_lost_answer_of_a_wrong_answers_count_is_one_wrong_answer(
    ledger: Ledger, aws: StandIn, clock: Clock
) -> None:
    """T44: the try after it is refused by the first."""
    aws.after["UpdateItem"] = _connection_closes(aws, "UpdateItem")
    assert ledger.count_wrong_answer("ada", _challenge(clock))
    assert aws.items["ada"]["w0"] == {"N": str(int(clock.now))}
    assert aws.items["ada"]["w1"] == {"N": "0"}


def test_lost_answer_of_a_claim_is_the_claim(ledger: Ledger, aws: StandIn, clock: Clock) -> None:
    """T44: else nobody would send the mail that was taken over."""
    reserved = _reserve(ledger, clock)
    assert isinstance(reserved, Reserved)
    ledger.delivered(reserved, sent=False)
    writes = aws.calls.count("UpdateItem")

    def answer_of_the_claim_is_lost() -> None:
        if aws.calls.count("UpdateItem") == writes + 2:
            raise ConnectionClosedError(endpoint_url="https://dynamodb.us-east-1.amazonaws.com")

    aws.after["UpdateItem"] = answer_of_the_claim_is_lost
    again = _reserve(ledger, clock)
    assert isinstance(again, Reserved)
    assert aws.items["ada"]["mails"] == {"N": "2"}


def test_count_that_fails_leaves_no_trace(ledger: Ledger, aws: StandIn, clock: Clock) -> None:
    """T12: so the next first round is the first."""
    aws.faults[COUNT_MAIL] = refuse("AccessDeniedException")
    with pytest.raises(ClientError):
        _reserve(ledger, clock)
    assert aws.items == {}
    aws.faults.clear()
    assert isinstance(_reserve(ledger, clock), Reserved)
    assert _sends_counted(aws) == 1


@pytest.mark.parametrize("seconds", [0, 4, 30])
def test_round_that_was_overtaken_between_its_writes_joins_what_overtook_it(
    ledger: Ledger, aws: StandIn, clock: Clock, seconds: int
) -> None:
    """T33: it gives its mail back, and undoes nothing."""
    outcomes: list[Outcome] = []

    def overtaken() -> None:
        aws.after.clear()
        clock.now += seconds
        outcomes.append(_reserve(ledger, clock))

    aws.after[COUNT_MAIL] = overtaken
    late = _reserve(ledger, clock)
    [overtaking] = outcomes
    assert isinstance(overtaking, Reserved)
    assert isinstance(late, Joined)
    assert late.challenge.id == overtaking.challenge.id
    assert _sends_counted(aws) == 1


@pytest.mark.parametrize("at", ["faults", "after"])
def test_death_at_the_count_costs_at_most_one_mail_too_many(
    ledger: Ledger, aws: StandIn, clock: Clock, at: str
) -> None:
    """T33: the user knows of no code that was not mailed, and the next round mails one."""
    _die_at_the_count(ledger, aws, clock, at)
    assert "ada" not in aws.items
    assert isinstance(_reserve(ledger, clock), Reserved)
    assert _sends_counted(aws) == (1 if at == "faults" else 2)


def test_items_of_the_version_before_are_read_right(
    ledger: Ledger, aws: StandIn, clock: Clock
) -> None:
    """It wrote both items in one transaction, of the same attributes."""
    now = int(clock.now)
    challenge = _challenge(clock)
    item: dict[str, int | str] = {
        **{f"s{i}": now if i == 0 else 0 for i in range(20)},
        "challenge_id": challenge.id,
        "issued_at": now,
        "digits": 6,
        "max_attempts": 3,
        "key_version": challenge.key_version,
        "address_digest": challenge.address_digest,
        "delivery": "sent",
        "mails": 1,
        "mailed_at": now,
        "expires_at": now + DAY,
    }
    aws.items["ada"] = {"sub": {"S": "ada"}} | {
        name: {"N": str(value)} if isinstance(value, int) else {"S": value}
        for name, value in item.items()
    }
    joined = _reserve(ledger, clock)
    assert isinstance(joined, Joined)
    assert joined.challenge.id == challenge.id
    aws.items["ada"]["delivery"] = {"S": "failed"}
    again = _reserve(ledger, clock)
    assert isinstance(again, Reserved)
    assert again.challenge.id == challenge.id
    assert aws.items["ada"]["mails"] == {"N": "2"}
    assert ledger.redeem("ada", challenge, "digest")


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
    challenge = _challenge(clock)
    reserved = Reserved(
        challenge=challenge, look=Look.of(challenge), key="nobody", nonce="1", pretended=False
    )
    ledger.delivered(reserved, sent=True)
    assert not ledger.has_redeemed("nobody", "digest")
    assert aws.items == {}


def test_long_code_may_be_answered_however_many_answers_were_wrong(
    ledger: Ledger, clock: Clock
) -> None:
    """T02: nobody can lock a guest out."""
    _reserve(ledger, clock)
    long, short = _challenge(clock, digits=LONG_CODE_DIGITS), _challenge(clock)
    assert all(ledger.count_wrong_answer("ada", short) for _ in range(10))
    assert not ledger.count_wrong_answer("ada", short)
    assert not ledger.redeem("ada", short, "digest")
    assert ledger.count_wrong_answer("ada", long)
    assert ledger.redeem("ada", long, "digest")


@given(
    sends=st.lists(st.integers(0, 2 * DAY), max_size=20),
    wrong_answers=st.lists(st.integers(0, 30 * DAY), max_size=10),
    forgotten_at=st.none() | st.integers(0, 2 * DAY),
    ago=st.sampled_from([0, 29, 30, 599, 600, 899, 900, DAY, 20 * DAY - 1, 20 * DAY]),
)
def test_condition_and_time_of_each_wait_agree(
    sends: list[int], wrong_answers: list[int], forgotten_at: int | None, ago: int
) -> None:
    """T10: what DynamoDB lets through is what was promised to whoever waits."""
    start = 1_800_000_000
    logs = {"s": sorted(sends, reverse=True), "w": sorted(wrong_answers, reverse=True)}
    item = {"forgotten_at": start + forgotten_at} if forgotten_at is not None else {}
    item |= {f"{log}{i}": start + at for log, ats in logs.items() for i, at in enumerate(ats)}
    now = max([start, *item.values()]) + ago
    typed = {name: {"N": str(at)} for name, at in item.items()}
    for wait in (SEND_WAIT, SHORT_CODE_WAIT, SEND_WAIT & SHORT_CODE_WAIT):
        ends_at = wait.ends_at(item)
        for second in (now, max(ends_at - 1, start), max(ends_at, start)):
            is_over = holds(wait.condition, typed, named(wait.condition, {}, second))
            assert is_over == (second >= ends_at)
