"""What the logs hold."""

import asyncio
import json
import logging
import time

import pytest

from agent.sign_in import EmailOtp
from agent.sign_in.observability import JsonFormatter, describe, pin_library_loggers
from tests.support.fakes import SESSION_ID, FakeCognito, RecordingCounter, aws_error
from tests.support.logins import Logins

SECRET = "canary"


def test_exceptions_are_described_without_their_text() -> None:
    try:
        raise aws_error("AdminInitiateAuth", "Oops", SECRET)
    except Exception as error:
        described = describe(error)
    assert described["aws_error_code"] == "Oops"
    assert described["operation"] == "AdminInitiateAuth"
    assert SECRET not in str(described)


def test_only_known_keys_are_written() -> None:
    record = logging.makeLogRecord({"msg": "said", "outcome": "SIGNED_IN", "prompt": SECRET})
    line = json.loads(JsonFormatter().format(record))
    assert (line["message"], line["outcome"]) == ("said", "SIGNED_IN")
    assert SECRET not in str(line)


def test_lines_tell_their_time_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    record = logging.makeLogRecord({"msg": "said", "created": 1_800_000_000.25, "msecs": 250})
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        line = json.loads(JsonFormatter().format(record))
    time.tzset()
    assert line["timestamp"] == "2027-01-15T08:00:00.250Z"


@pytest.mark.parametrize(
    "name",
    [
        "boto3.resources.action",
        "botocore.endpoint",
        "botocore.parsers",
        "bedrock_agentcore.app",
        "strands.tools.x",
        "urllib3.connectionpool",
    ],
)
def test_t22_library_debug_records_are_empty_even_if_somebody_turns_them_on(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    pin_library_loggers()
    pin_library_loggers()
    caplog.set_level(logging.DEBUG, logger=name)
    logging.getLogger(name).debug(
        "response: %s", SECRET, exc_info=aws_error("AdminInitiateAuth", "Oops", SECRET)
    )
    logging.getLogger(name).info("retrying")
    assert [r.getMessage() for r in caplog.records] == ["withheld", "retrying"]
    assert SECRET not in caplog.text


def test_quiet_library_stays_quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="botocore")
    pin_library_loggers()
    assert logging.getLogger("botocore").level == logging.ERROR


def test_library_is_made_no_louder_than_the_process(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    caplog.set_level(logging.NOTSET, logger="botocore")
    pin_library_loggers()
    assert not logging.getLogger("botocore").isEnabledFor(logging.INFO)


def test_other_debug_records_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    pin_library_loggers()
    caplog.set_level(logging.DEBUG)
    logging.getLogger("shop").debug("sold %d", 3)
    assert caplog.messages == ["sold 3"]


def test_every_code_request_and_answer_is_counted_by_its_outcome_alone(
    email_otp: EmailOtp, cognito: FakeCognito, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests, answers = RecordingCounter(), RecordingCounter()
    monkeypatch.setattr("agent.sign_in.turns.code_requests", requests)
    monkeypatch.setattr("agent.sign_in.turns.code_answers", answers)

    def ask(email: str) -> None:
        asyncio.run(email_otp.turn(SESSION_ID, email).request_code(email, ""))

    def enter(code: str) -> None:
        turn = email_otp.turn(SESSION_ID, "", code=code)
        reference = turn.prompt.removeprefix("[code_reference: ").removesuffix("]")
        asyncio.run(turn.answer_code(reference))

    enter("123456")
    ask("nobody")
    ask("ada@example.com")
    cognito.parameters = {"retry_after_seconds": "20"}
    ask("ada@example.com")
    enter("000000")
    enter(cognito.mailed[-1][1])
    cognito.fail["AdminInitiateAuth"] = aws_error("AdminInitiateAuth", "TooManyRequestsException")
    ask("ada@example.com")

    expected = ["INVALID_EMAIL", "CODE_SENT", "CODE_STILL_GOOD", "RATE_LIMITED"]
    assert requests.counted == [{"outcome": outcome} for outcome in expected]
    expected = ["NO_LOGIN_PENDING", "INVALID_OTP", "SIGNED_IN"]
    assert answers.counted == [{"outcome": outcome} for outcome in expected]


def test_every_line_of_a_login_carries_its_correlation_id(
    login: Logins, cognito: FakeCognito, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="agent")
    login.request_code(SESSION_ID, email="ada@example.com")
    login.answer_code(SESSION_ID, "000000")
    login.answer_code(SESSION_ID, cognito.mailed[-1][1])
    cognito.disabled.add("ada@example.com")
    login.request_code(SESSION_ID, email="ada@example.com")

    ids = [vars(record)["correlation_id"] for record in caplog.records]
    assert caplog.messages == [
        "code requested",
        "code answered",
        "code answered",
        "user may not sign in",
        "code requested",
    ]
    assert ids == [ids[0]] * 3 + [ids[3]] * 2
    assert ids[0] != ids[3]
    told = [a["ClientMetadata"] for _, a in cognito.calls if "ClientMetadata" in a]
    assert told == [{"correlation_id": ids[0]}] * 2
