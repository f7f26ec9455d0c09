"""Logs and metrics: fixed texts and keys, and nothing of a visitor at any level."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest
from aws_lambda_powertools.utilities.data_classes.cognito_user_pool_event import BaseTriggerEvent
from botocore.exceptions import ReadTimeoutError

from lambdas.email_otp.errors import DeliveryError, TriggerError
from lambdas.email_otp.observability import trigger
from tests.support.aws_stand_in import StandIn, refuse
from tests.support.clock import Clock
from tests.support.triggers import (
    ADA,
    BOB,
    CONTEXT,
    NEWCOMER,
    NOBODY,
    POOL,
    Guest,
    Lambdas,
    answered,
)


def test_failure_is_logged_once_with_its_type_and_place(
    lambdas: Lambdas, aws: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    aws.faults["SendEmail"] = refuse("MessageRejected")
    with pytest.raises(DeliveryError):
        lambdas.create(ADA.first_round())
    [record] = [each for each in caplog.records if each.levelname == "ERROR"]
    fields = vars(record)
    assert record.getMessage() == "trigger failed"
    assert fields["error_code"] == "MessageRejected"
    assert any(place.startswith("send:") for place in fields["where"])


def test_correlation_id_is_taken_if_it_looks_like_one_and_forgotten_after(
    lambdas: Lambdas, aws: StandIn, capfd: pytest.CaptureFixture[str]
) -> None:
    from lambdas.email_otp.observability import logger

    event = ADA.first_round()
    event["request"]["clientMetadata"] = {"correlation_id": "5f1c2d3e-canary"}
    lambdas.create(event)
    assert logger.get_current_keys()["correlation_id"] == "5f1c2d3e-canary"
    for forged in ("ada@example.com", "short", "x" * 65, "line\nbreak", 5, None):
        event["request"]["clientMetadata"] = {"correlation_id": forged}
        lambdas.create(event)
        assert "correlation_id" not in logger.get_current_keys()
    capfd.readouterr()
    assert aws.calls


def test_lines_tell_their_time_with_its_offset() -> None:
    from lambdas.email_otp.observability import logger

    record = logging.makeLogRecord({"msg": "said", "created": 1_800_000_000.25})
    told = json.loads(logger.registered_formatter.format(record))["timestamp"]
    at = datetime.strptime(told, "%Y-%m-%d %H:%M:%S,%f%z")
    assert abs(at.timestamp() - 1_800_000_000) < 1


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RuntimeError("ada@example.com"), "AUTH_SERVICE_ERROR"),
        (KeyError("email"), "AUTH_SERVICE_ERROR"),
        (TriggerError(), "AUTH_SERVICE_ERROR"),
        (DeliveryError(), "ERR_EMAIL_DELIVERY_FAILED"),
    ],
)
def test_any_failure_becomes_a_fixed_text(error: Exception, text: str) -> None:
    """T24's share of the triggers."""

    @trigger(BaseTriggerEvent)
    def failing(_event: BaseTriggerEvent) -> None:
        raise error

    with pytest.raises(TriggerError) as raised:
        failing({}, CONTEXT)
    assert str(raised.value) == text
    assert raised.value.__context__ is None


@pytest.fixture
def counted(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """Return a function that names what was counted since its last call, in order."""

    def names() -> list[str]:
        lines = [line for line in capsys.readouterr().out.splitlines() if "_aws" in line]
        return [
            metric["Name"]
            for line in lines
            for metric in json.loads(line)["_aws"]["CloudWatchMetrics"][0]["Metrics"]
        ]

    return names


def test_counts_each_outcome_once(
    lambdas: Lambdas, aws: StandIn, counted: Callable[[], list[str]]
) -> None:
    lambdas.define(ADA.decided([]))
    created = lambdas.create(ADA.first_round())
    lambdas.create(ADA.first_round())
    lambdas.verify(ADA.answer(created, "0"))
    lambdas.define(ADA.decided([answered(created)]))
    lambdas.verify(ADA.answer(created, aws.mails[0].code))
    lambdas.define(ADA.decided([answered(created), answered(created, correct=True)]))
    assert counted() == [
        "SignInStarted",
        "CodeSent",
        "CodeJoined",
        "AnswerWrong",
        "AnswerRedeemed",
        "SignedIn",
    ]
    lambdas.verify(ADA.answer(created, "0"))
    lambdas.create(ADA.first_round())
    assert counted() == ["AnswerWrong", "CodeJoined"]


def test_counts_late_answers_long_codes_and_failures(
    lambdas: Lambdas, aws: StandIn, clock: Clock, counted: Callable[[], list[str]]
) -> None:
    created = lambdas.create(ADA.first_round())
    for _ in range(10):
        lambdas.verify(ADA.answer(created, "0"))
    clock.now += 600
    counted()
    lambdas.verify(ADA.answer(created, "0"))
    lambdas.create(ADA.first_round())
    aws.faults["SendEmail"] = refuse("MessageRejected")
    with pytest.raises(TriggerError):
        lambdas.create(BOB.first_round())
    assert counted() == ["AnswerExpired", "LongCodeSent", "TriggerFailed"]


def test_counts_who_was_mailed_and_why_somebody_was_not(
    lambdas: Lambdas, aws: StandIn, clock: Clock, counted: Callable[[], list[str]]
) -> None:
    """T41 and T43: what nobody outside may see, the owner does."""
    lambdas.create(NEWCOMER.first_round())
    lambdas.create(NOBODY.first_round())
    assert counted() == ["NewcomerCodeSent", "UnknownUser"]
    hour = f"stack#{POOL}#{int(clock.now) // 3600}"
    aws.items[hour] |= {"sends": {"N": "1000"}, "newcomer_sends": {"N": "200"}}
    lambdas.create(BOB.first_round())
    lambdas.create(replace(BOB, name="new", email_verified="false").first_round())
    assert counted() == ["SendsBudgetUsedUp", "NewcomersBudgetUsedUp"]
    del aws.items[hour]
    for number in range(6):
        other = Guest(name=f"a{number}", email=f"v+{number}@example.com", email_verified="false")
        lambdas.create(other.first_round())
    assert counted() == ["NewcomerCodeSent"] * 5 + ["MailboxFull"]


def test_t44_mail_without_an_answer_is_counted(
    lambdas: Lambdas, aws: StandIn, counted: Callable[[], list[str]]
) -> None:
    def no_answer() -> None:
        raise ReadTimeoutError(endpoint_url="https://email.us-east-1.amazonaws.com")

    aws.after["SendEmail"] = no_answer
    lambdas.create(ADA.first_round())
    assert counted() == ["MailUnconfirmed"]
