"""What a process does before its first event, while Lambda gives it a full core."""

import pytest

from lambdas.email_otp.errors import TriggerError
from tests.support.aws_stand_in import StandIn, refuse
from tests.support.triggers import ADA, CONTEXT, started

CREATE, VERIFY = "create_auth_challenge", "verify_auth_challenge_response"


@pytest.mark.parametrize("name", [CREATE, VERIFY])
def test_key_and_connection_are_there_before_the_first_event(
    name: str, aws: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(name, monkeypatch)
    assert aws.calls == ["GetSecretValue", "UpdateItem"]
    assert aws.items == {}


def test_first_round_reads_no_key(aws: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    create = started(CREATE, monkeypatch)
    aws.calls.clear()
    create.handler(ADA.first_round(), CONTEXT)
    assert len(aws.mails) == 1
    assert "GetSecretValue" not in aws.calls


@pytest.mark.parametrize("operation", ["GetSecretValue", "UpdateItem"])
def test_what_fails_then_is_done_by_the_first_event(
    operation: str, aws: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.faults[operation] = refuse("InternalServerError", 500)
    create = started(CREATE, monkeypatch)
    assert aws.calls[-1] == operation
    del aws.faults[operation]
    create.handler(ADA.first_round(), CONTEXT)
    assert len(aws.mails) == 1


@pytest.mark.parametrize("name", [CREATE, VERIFY])
def test_start_waits_for_one_call_that_fails_at_most(
    name: str, aws: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trigger that Cognito waits for has to make it again."""
    aws.faults["GetSecretValue"] = refuse("InternalServerError", 500)
    started(name, monkeypatch)
    assert aws.calls == ["GetSecretValue"]


def test_key_that_cannot_be_read_fails_the_trigger_and_not_the_start(
    aws: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cognito shows its callers what a start fails with, and of triggers a fixed text."""
    monkeypatch.setattr(aws, "_get_secret_value", lambda _: {"VersionId": "1", "SecretBinary": ""})
    create = started(CREATE, monkeypatch)
    with pytest.raises(TriggerError, match=r"^AUTH_SERVICE_ERROR$"):
        create.handler(ADA.first_round(), CONTEXT)


def test_answer_to_a_code_of_the_current_key_reads_none(
    aws: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = started(CREATE, monkeypatch).handler(ADA.first_round(), CONTEXT)["response"]
    verify = started(VERIFY, monkeypatch)
    aws.calls.clear()
    verify.handler(ADA.answer(created, aws.mails[0].code), CONTEXT)
    assert aws.calls == ["UpdateItem"]
