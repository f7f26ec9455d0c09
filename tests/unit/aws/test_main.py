"""The command line's errors: one line each, which says what to do."""

from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import (
    ConnectTimeoutError,
    NoCredentialsError,
    ProfileNotFound,
    UnauthorizedSSOTokenError,
)

from tests.aws import __main__ as command
from tests.support.hosted_stand_in import OUTPUTS


def answered(status: int, parsed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have CloudFormation answer so."""

    def session(region_name: str | None = None) -> boto3.Session:
        made = boto3.session.Session(
            aws_access_key_id="x", aws_secret_access_key="x", region_name=region_name
        )
        answer = (SimpleNamespace(status_code=status), parsed)
        answering: Any = lambda **_: answer  # noqa: E731
        made.events.register("before-call", answering)
        return made

    monkeypatch.setattr(boto3, "Session", session)


def failing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def session(**_: Any) -> boto3.Session:
        raise error

    monkeypatch.setattr(boto3, "Session", session)


def error_of(capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert command.main(["--stack", "EmailOtp", *more]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    return line


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("ValidationError", "there is no stack EmailOtp in eu-west-1: pass STACK=..."),
        ("AccessDenied", "you may not call cloudformation:DescribeStacks"),
        ("ExpiredToken", "your credentials do not work (ExpiredToken): renew them"),
    ],
)
def test_refusal_is_one_line(
    code: str,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answered(400, {"Error": {"Code": code, "Message": "a message"}}, monkeypatch)
    assert line in error_of(capsys, "--region", "eu-west-1")


def test_stack_of_another_app_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(200, {"Stacks": [{"Outputs": []}]}, monkeypatch)
    assert "has no output UserPoolId" in error_of(capsys, "--region", "eu-west-1")


def test_region_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert "which region is the stack in?" in error_of(capsys)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (NoCredentialsError(), "there are no credentials (NoCredentialsError): sign in"),
        (ProfileNotFound(profile="x"), "there are no credentials (ProfileNotFound)"),
        (UnauthorizedSSOTokenError(), "there are no credentials (UnauthorizedSSOTokenError)"),
        (ConnectTimeoutError(endpoint_url="x"), "cannot be looked up (ConnectTimeoutError)"),
    ],
)
def test_what_boto3_lacks_is_one_line(
    error: Exception,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(error, monkeypatch)
    assert line in error_of(capsys, "--region", "eu-west-1")


def test_stack_is_proved_by_its_outputs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = [{"OutputKey": key, "OutputValue": value} for key, value in OUTPUTS.items()]
    answered(200, {"Stacks": [{"Outputs": outputs}]}, monkeypatch)
    proved: list[Any] = []

    def prove(stack: Any, _: Any) -> int:
        proved.append(stack)
        return 0

    monkeypatch.setattr(command, "prove", prove)
    assert command.main(["--stack", "EmailOtp", "--region", "eu-west-1"]) == 0
    (stack,) = proved
    assert stack.outputs == OUTPUTS
    assert stack.region == "eu-west-1"
    assert not stack.is_local
    assert capsys.readouterr().err == ""


def test_ctrl_c_exits_as_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(**_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(boto3, "Session", interrupt)
    assert command.main(["--stack", "EmailOtp", "--region", "eu-west-1"]) == 130
