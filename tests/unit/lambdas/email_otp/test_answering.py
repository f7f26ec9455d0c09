"""The answerer: the same work for every answer, and one write that decides."""

from dataclasses import replace

import pytest

from lambdas.email_otp.answering import SESSION_SECONDS
from lambdas.email_otp.challenge import Challenge
from lambdas.email_otp.user import User
from tests.support.aws_stand_in import StandIn
from tests.support.clock import Clock
from tests.support.triggers import POOL, USER, Lambdas


@pytest.fixture
def challenge(lambdas: Lambdas) -> Challenge:
    """Mail a code, and return its challenge."""
    issued = lambdas.issuer.issue(USER, user_pool_id=POOL)
    assert issued.challenge
    return issued.challenge


@pytest.mark.parametrize("answer", ["0", "", None, "1" * 1000, 7])
def test_every_wrong_answer_is_counted(
    lambdas: Lambdas, aws: StandIn, challenge: Challenge, answer: object
) -> None:
    """T08: what cannot be a code counts as a wrong one."""
    assert lambdas.answerer.decide(challenge, answer, USER) != "redeemed"
    assert int(aws.items["ada"]["w0"]["N"]) > 0


@pytest.mark.parametrize(
    "user",
    [
        replace(USER, address="ada@example.net"),
        replace(USER, known=False),
        replace(USER, name="bob"),
    ],
)
def test_right_code_of_the_wrong_person_is_a_wrong_answer(
    lambdas: Lambdas, aws: StandIn, challenge: Challenge, user: User
) -> None:
    """T05, T15, T31."""
    assert lambdas.answerer.decide(challenge, aws.mails[0].code, user) != "redeemed"
    key = lambdas.verify_keys.version(challenge.key_version)
    assert int(aws.items[user.ledger_key(key)]["w0"]["N"]) > 0


def test_late_right_answer_is_not_counted_and_a_late_wrong_one_is(
    lambdas: Lambdas, aws: StandIn, clock: Clock, challenge: Challenge
) -> None:
    """T06 and T39: callers may have been told of a later end, which nobody may tell apart."""
    clock.now += 300
    assert lambdas.answerer.decide(challenge, aws.mails[0].code, USER) == "expired"
    assert "w0" not in aws.items["ada"]
    assert lambdas.answerer.decide(challenge, "0", USER) == "expired"
    assert aws.items["ada"]["w0"] == {"N": str(int(clock.now))}
    clock.now += SESSION_SECONDS
    aws.calls.clear()
    assert lambdas.answerer.decide(challenge, "0", USER) == "expired"
    assert aws.calls == []
