"""What a sign-in costs does not grow with how many there were before."""

import pytest

from lambdas.email_otp.challenge import LONG_CODE_DIGITS
from tests.support.aws_stand_in import StandIn
from tests.support.clock import Clock
from tests.support.dynamodb_expressions import Item
from tests.support.triggers import ADA, BOB, Event, Lambdas, wrong

HOUR = 3600
WRITE_UNIT_BYTES = 1024
"""An update costs a write unit for each kilobyte of the item that is begun."""


@pytest.fixture
def lambdas(aws: StandIn, clock: Clock) -> Lambdas:  # noqa: ARG001 - it lies under the clients
    """Return a process of Create and of Verify that have read the key, for many calls."""
    lambdas = Lambdas(clock, short_cut=True)
    lambdas.verify(BOB.answer(lambdas.create(BOB.first_round()), "0"))
    return lambdas


def sign_in(lambdas: Lambdas, aws: StandIn, *, wrong_answers: int = 0) -> list[str]:
    """Sign Ada in; returns what that called."""
    aws.calls.clear()
    created = lambdas.create(ADA.first_round())
    code = aws.mails[-1].code
    answer_wrong(lambdas, created, code, times=wrong_answers)
    assert lambdas.verify(ADA.answer(created, code))
    return [*aws.calls]


def answer_wrong(lambdas: Lambdas, created: Event, code: str, *, times: int) -> None:
    """Answer a challenge of Ada's wrong."""
    for _ in range(times):
        assert not lambdas.verify(ADA.answer(created, wrong(code)))


def bytes_of(item: Item) -> int:
    """Return what an item takes at most: DynamoDB packs two digits of a number into a byte.

    Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum(len(name) + len(str(*typed.values())) for name, typed in item.items())


def test_thousandth_sign_in_costs_what_the_first_did(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    """Through four months, with as many wrong answers as leave codes short."""
    first = sign_in(lambdas, aws)
    for number in range(2, 1000):
        clock.now += 3 * HOUR
        sign_in(lambdas, aws, wrong_answers=int(number % 20 == 0))
        assert bytes_of(aws.items[ADA.name]) <= WRITE_UNIT_BYTES
    clock.now += 3 * HOUR
    assert sign_in(lambdas, aws) == first
    assert bytes_of(aws.items[ADA.name]) <= WRITE_UNIT_BYTES


def test_users_item_takes_one_write_unit_at_its_fullest(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    """Three weeks of an attack on a guest who signs in each day, and whom a sweep looked at."""
    for hour in range(21 * 24):
        clock.now += HOUR
        if hour % 24 == 0:
            sign_in(lambdas, aws)
            continue
        created = lambdas.create(ADA.first_round())
        answer_wrong(lambdas, created, aws.mails[-1].code, times=3)
    item = aws.items[ADA.name]
    assert item["digits"] == {"N": str(LONG_CODE_DIGITS)}
    assert item.keys() >= {"s19", "w9", "redeemed_through"}
    assert bytes_of(item | {"forgotten_at": item["s0"]}) <= WRITE_UNIT_BYTES
