"""The issuer: what a first round costs, and what is not even tried."""

import pytest

from lambdas.email_otp.errors import DeliveryError
from lambdas.email_otp.issuing import Issued
from tests.support.aws_stand_in import COUNT_MAIL, StandIn, refuse
from tests.support.clock import Clock
from tests.support.triggers import EVENTS_ISSUED_AT, POOL, USER, Lambdas


def test_undelivered_code_is_given_up_after_three_mails(lambdas: Lambdas, aws: StandIn) -> None:
    """T11 and T33."""
    aws.faults["SendEmail"] = refuse("MessageRejected")
    for _ in range(3):
        with pytest.raises(DeliveryError):
            lambdas.issuer.issue(USER, user_pool_id=POOL)
    for _ in range(2):
        issued = lambdas.issuer.issue(USER, user_pool_id=POOL)
        assert issued == Issued(challenge=None, look=None, retry_after_seconds=30)
    assert aws.calls.count("SendEmail") == 3


def test_code_mailed_again_says_when_it_was_asked_for_first(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    """T11: it is the same code, and its life goes on."""
    clock.now = EVENTS_ISSUED_AT + 7
    aws.faults["SendEmail"] = refuse("MessageRejected")
    with pytest.raises(DeliveryError):
        lambdas.issuer.issue(USER, user_pool_id=POOL)
    del aws.faults["SendEmail"]
    clock.now += 5
    lambdas.issuer.issue(USER, user_pool_id=POOL)
    clock.now += 31
    lambdas.issuer.issue(USER, user_pool_id=POOL)
    again, new = (mail.text for mail in aws.mails)
    assert "Asked for on 1 January 2026 at 00:00:07 UTC." in again
    assert "Asked for on 1 January 2026 at 00:00:43 UTC." in new


@pytest.mark.parametrize("operation", ["UpdateItem", COUNT_MAIL])
def test_no_mail_without_a_record(lambdas: Lambdas, aws: StandIn, operation: str) -> None:
    """T12."""
    aws.faults[operation] = refuse("InternalServerError", 500)
    with pytest.raises(Exception, match="InternalServerError"):
        lambdas.issuer.issue(USER, user_pool_id=POOL)
    assert "SendEmail" not in aws.calls


def test_no_record_and_no_mail_without_the_key(lambdas: Lambdas, aws: StandIn) -> None:
    """T14."""
    aws.faults["GetSecretValue"] = refuse("AccessDeniedException")
    with pytest.raises(Exception, match="AccessDenied"):
        lambdas.issuer.issue(USER, user_pool_id=POOL)
    assert aws.calls == ["GetSecretValue"]


def test_t39_cooldown_after_a_sign_in_looks_as_before(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    """T04 and T39: nobody sees when a guest signs in, and the used code is not handed out again."""
    issued = lambdas.issuer.issue(USER, user_pool_id=POOL)
    assert issued.challenge
    assert lambdas.answerer.decide(issued.challenge, aws.mails[0].code, USER) == "redeemed"
    clock.now += 12
    looks = lambdas.issuer.issue(USER, user_pool_id=POOL)
    assert looks.challenge
    assert looks.challenge.is_decoy
    assert looks.challenge.expires_at(300) == issued.challenge.expires_at(300)
    assert (looks.retry_after_seconds, looks.mail) == (18, "decoy")
    key = lambdas.verify_keys.version(looks.challenge.key_version)
    for answer in (aws.mails[0].code, looks.challenge.code(key, USER.name)):
        assert lambdas.answerer.decide(looks.challenge, answer, USER) == "wrong"
    assert len(aws.mails) == 1
