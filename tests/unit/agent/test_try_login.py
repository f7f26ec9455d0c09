"""Signing in from the terminal."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent import try_login
from agent.sign_in import EmailOtp
from agent.sign_in.outcomes import MESSAGES, ErrorCode
from agent.sign_in.settings import Settings, SettingsError
from tests.support.fakes import CLIENT_ID, POOL_ID, FakeCognito, FakeDynamoDb, Signer

ADA = "ada@example.com"
OUTPUTS = {
    "UserPoolId": POOL_ID,
    "UserPoolClientId": CLIENT_ID,
    "GuestsTableName": "guests",
    "endpoint_url": "http://127.0.0.1:1",
    "region": "eu-west-1",
}


@pytest.fixture
def deployment(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    email_otp: EmailOtp,
    signer: Signer,
    cognito: FakeCognito,
) -> FakeCognito:
    """A deployment whose pool is the stand-in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "outputs.json").write_text(json.dumps(OUTPUTS))
    monkeypatch.setattr(EmailOtp, "connect", lambda *_: email_otp)
    monkeypatch.setattr("agent.sign_in.identity.fetch_jwks", lambda _: signer.jwks)
    monkeypatch.setattr("time.time", cognito.clock)
    return cognito


def type_in(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> None:
    typed = iter(answers)
    monkeypatch.setattr("builtins.input", lambda _: a() if callable(a := next(typed)) else a)


def test_right_code_prints_verified_claims_and_no_token(
    deployment: FakeCognito, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def with_a_space() -> str:
        code = deployment.mailed[-1][1]
        return f" {code[:3]} {code[3:]}"

    type_in(monkeypatch, "000000", with_a_space)
    assert try_login.main([ADA]) == 0
    printed = capsys.readouterr()
    assert "a***@e***.com" in printed.out
    assert '"token_use": "id"' in printed.out
    assert '"token_use": "access"' in printed.out
    assert f"INVALID_OTP: {MESSAGES[ErrorCode.INVALID_OTP]} (tries left: 2)" in printed.err
    for secret in deployment.issued:
        assert secret not in printed.out + printed.err


@pytest.mark.parametrize("between", [" ", "-", ""])
def test_long_code_of_a_newer_mail_is_taken_in_groups_and_in_one(
    deployment: FakeCognito, monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    type_in(monkeypatch, *[between.join(["4071", "9336", "0258", "1147"])] * 3)
    assert try_login.main([ADA]) == 1
    answers = [call for name, call in deployment.calls if name == "AdminRespondToAuthChallenge"]
    assert [call["ChallengeResponses"]["ANSWER"] for call in answers] == ["4071933602581147"] * 3


def test_three_wrong_codes_end_it(
    deployment: FakeCognito, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    type_in(monkeypatch, "000000", "000000", "000000")
    assert try_login.main([ADA]) == 1
    assert "MAX_ATTEMPTS_EXCEEDED" in capsys.readouterr().err
    assert len(deployment.mailed) == 1


def test_claims_of_a_foreign_key_are_not_printed(
    deployment: FakeCognito, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("agent.sign_in.identity.fetch_jwks", lambda _: Signer().jwks)
    type_in(monkeypatch, lambda: deployment.mailed[-1][1])
    assert try_login.main([ADA]) == 1
    printed = capsys.readouterr()
    assert printed.err == "signature: does not match\n"
    assert "Verified claims" not in printed.out


def test_keys_that_cannot_be_fetched_are_told(
    deployment: FakeCognito, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("agent.sign_in.identity.fetch_jwks", lambda _: {})
    type_in(monkeypatch, lambda: deployment.mailed[-1][1])
    assert try_login.main([ADA]) == 1
    assert "keys could not be fetched" in capsys.readouterr().err


def test_guest_that_cannot_be_stored_ends_it(
    deployment: FakeCognito,
    dynamodb: FakeDynamoDb,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dynamodb.fail_on["last_login_at"] = RuntimeError()
    type_in(monkeypatch, lambda: deployment.mailed[-1][1])
    assert try_login.main([ADA]) == 1
    assert "GUEST_CREATION_FAILED" in capsys.readouterr().err
    assert deployment.revoked


def test_throttling_tells_how_long(
    deployment: FakeCognito, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment.parameters = {"status": "throttled", "retry_after_seconds": "540"}
    assert try_login.main([ADA]) == 1
    assert "try again in 540 seconds" in capsys.readouterr().err


def test_late_mails_are_told(
    deployment: FakeCognito, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment.parameters = {"busy": "true"}
    type_in(monkeypatch, lambda: deployment.mailed[-1][1])
    assert try_login.main([ADA]) == 0
    assert "If it is not there in a few minutes, ask again in 60 min." in capsys.readouterr().out


@pytest.mark.usefixtures("deployment")
@pytest.mark.parametrize(("told", "limit"), [({}, 200), ({"MaxNewGuestsPerHour": "3"}, 3)])
def test_as_many_newcomers_as_the_stack_says(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str], limit: int
) -> None:
    """Stacks on AWS do not say, and their default is the agent's."""
    Path(".local/outputs.json").write_text(json.dumps(OUTPUTS | told))
    connected: list[Any] = []

    def connect(settings: Settings, _: object) -> EmailOtp:
        connected.append(settings)
        raise SettingsError("enough")

    monkeypatch.setattr(EmailOtp, "connect", connect)
    assert try_login.main([ADA]) == 1
    assert connected[0].max_new_guests_per_hour == limit


def test_ctrl_d_stops(
    deployment: FakeCognito, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def closed(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", closed)
    assert try_login.main([ADA]) == 130
    assert "Stopped." in capsys.readouterr().err
    assert deployment.mailed


def test_without_a_deployment_one_line_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert try_login.main([ADA]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "make deploy-local" in line


def test_stack_without_the_outputs_is_named(
    deployment: FakeCognito, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = {"region": OUTPUTS["region"], "endpoint_url": OUTPUTS["endpoint_url"]}
    Path(".local/outputs.json").write_text(json.dumps(outputs))
    assert try_login.main([ADA]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no output GuestsTableName, UserPoolClientId, UserPoolId" in line
    assert not deployment.calls
