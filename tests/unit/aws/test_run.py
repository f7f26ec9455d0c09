"""What is printed, how it exits, and that it tidies up whatever happens."""

import signal
import threading
from collections.abc import Callable
from typing import Any, override

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from tests.aws import run
from tests.aws.check import Check, Failed, NotRun, Throttled, check
from tests.aws.checks import CHECKS
from tests.aws.run import prove
from tests.aws.stack import Removed, Stack
from tests.support.hosted_stand_in import OUTPUTS, REGION

SECRET = "314159"


class TidyStack(Stack):
    """A stack of which only the tidying is looked at."""

    tidied = 0

    def __init__(self, *left: tuple[str, Exception], endpoint_url: str | None = None) -> None:
        super().__init__(
            boto3.Session(region_name=REGION),
            OUTPUTS,
            httpx.Client(),
            endpoint_url=endpoint_url,
        )
        self.left = list(left)

    @override
    def remove_what_was_made(self) -> Removed:
        self.tidied += 1
        return Removed(users=2, items=3, left=self.left)


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any) -> None:
        raise error

    return fail


def one(run: Callable[..., Any], name: str = "it works", **more: Any) -> Check:
    return Check(name, "Mend it.", run, **more)


def refused(operation: str, code: str, message: str = "") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_checks_that_pass_are_a_line_each_and_exit_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert prove(TidyStack(), [one(lambda _: None, "one"), one(lambda _: None, "two")]) == 0
    assert lines_of(capsys) == [
        "ok    one",
        "ok    two",
        "removed what was made: 2 users, 3 items of the two tables",
        "2 ok, 0 failed, 0 not run, 0 s",
    ]


def test_failure_says_why_and_what_to_do_and_stops_no_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    checks = [one(raising(Failed("it does not")), "one"), one(lambda _: None, "two")]
    assert prove(TidyStack(), checks) == 1
    assert lines_of(capsys)[:3] == ["FAIL  one: it does not", "      Mend it.", "ok    two"]


def test_result_is_handed_on_to_who_needs_it(capsys: pytest.CaptureFixture[str]) -> None:
    first = one(lambda _: "a result", "one")
    seen: list[str] = []
    prove(TidyStack(), [first, one(lambda _, result: seen.append(result), "two", needs=[first])])
    assert seen == ["a result"]
    assert "2 ok" in capsys.readouterr().out


def test_check_that_needs_a_failed_one_is_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    first = one(raising(Failed("no")), "one")
    second = one(lambda *_: None, "two", needs=[first])
    third = one(lambda *_: None, "three", needs=[second])
    assert prove(TidyStack(), [first, second, third]) == 1
    printed = lines_of(capsys)
    assert "-     two: not run: needs one" in printed
    assert "-     three: not run: needs two" in printed
    assert printed[-1].startswith("0 ok, 1 failed, 2 not run")


def test_what_cannot_be_told_here_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert prove(TidyStack(), [one(raising(NotRun("not deployed")))]) == 0
    assert lines_of(capsys)[0] == "-     it works: not run here (not deployed)"


def test_check_for_aws_alone_runs_there_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for_aws = one(lambda _: None, only_on_aws="MiniStack has none")
    assert prove(TidyStack(endpoint_url="http://127.0.0.1:9"), [for_aws]) == 0
    assert prove(TidyStack(), [for_aws]) == 0
    printed = lines_of(capsys)
    assert printed[0] == "-     it works: not run here (MiniStack has none)"
    assert printed[3] == "ok    it works"


@pytest.mark.parametrize(
    "error",
    [Throttled("AgentCore"), refused("AdminInitiateAuth", "TooManyRequestsException")],
)
def test_throttled_is_told_from_failed(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prove(TidyStack(), [one(raising(error))]) == 0
    assert "said to slow down; run this again in a few minutes" in lines_of(capsys)[0]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            refused("AdminCreateUser", "AccessDeniedException"),
            "you may not call cognito-idp:AdminCreateUser",
        ),
        # No operator's call: what failed is the stack's.
        (
            refused("AssumeRoleWithWebIdentity", "AccessDenied"),
            "AssumeRoleWithWebIdentity was answered AccessDenied",
        ),
        (
            refused(
                "AdminInitiateAuth",
                "UserLambdaValidationException",
                f"{SECRET} failed with error ERR_EMAIL_DELIVERY_FAILED.",
            ),
            "AdminInitiateAuth was answered UserLambdaValidationException "
            "ERR_EMAIL_DELIVERY_FAILED",
        ),
        (
            EndpointConnectionError(endpoint_url=f"https://{SECRET}"),
            "a call got no answer (EndpointConnectionError)",
        ),
        (httpx.ReadTimeout(SECRET), "a call got no answer (ReadTimeout)"),
        (KeyError(SECRET), "the check itself broke (KeyError in test_run.py:"),
    ],
)
def test_fault_is_told_without_what_was_sent_or_answered(
    error: Exception, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prove(TidyStack(), [one(raising(error))]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith(f"FAIL  it works: {reason}")
    assert SECRET not in printed.out + printed.err


def test_permission_that_lacks_is_to_be_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    prove(TidyStack(), [one(raising(refused("FilterLogEvents", "AccessDeniedException")))])
    assert lines_of(capsys)[1].startswith("      Allow it to your credentials")


def test_long_check_says_that_it_is_at_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "_PROGRESS_SECONDS", 0.01)
    told = threading.Event()
    say = run._say

    def say_and_tell(line: str) -> None:
        say(line)
        told.set()

    monkeypatch.setattr(run, "_say", say_and_tell)
    prove(TidyStack(), [one(lambda _: told.wait(10))])
    assert lines_of(capsys)[0] == "...   it works (0 s)"


def test_ctrl_c_tidies_up(capsys: pytest.CaptureFixture[str]) -> None:
    stack = TidyStack()
    with pytest.raises(KeyboardInterrupt):
        prove(stack, [one(raising(KeyboardInterrupt())), one(lambda _: None, "two")])
    assert stack.tidied == 1
    assert lines_of(capsys) == [
        "stopped",
        "removed what was made: 2 users, 3 items of the two tables",
    ]


def test_what_stays_behind_is_named_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    left = ("the user of x", refused("AdminDeleteUser", "AccessDeniedException"))
    assert prove(TidyStack(left), []) == 1
    assert lines_of(capsys)[1] == (
        "FAIL  removing the user of x: you may not call cognito-idp:AdminDeleteUser"
    )


def test_each_check_comes_after_those_it_needs_under_a_name_of_its_own() -> None:
    for place, each in enumerate(CHECKS):
        assert {*each.needs} <= {*CHECKS[:place]}, each.name
        assert each.advice
    assert len({each.name for each in CHECKS}) == len(CHECKS)


def test_decorator_makes_a_check_of_a_function() -> None:
    @check("it works", advice="Mend it.")
    def works(stack: Stack) -> str:
        return stack.region

    assert works.run(TidyStack()) == REGION


@pytest.mark.parametrize("stopped_by", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_tidying_up_is_not_stopped(
    stopped_by: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is impatient presses Ctrl-C twice."""

    def remove() -> Removed:
        signal.raise_signal(stopped_by)
        return Removed()

    stack = TidyStack()
    monkeypatch.setattr(stack, "remove_what_was_made", remove)
    before = signal.signal(stopped_by, signal.default_int_handler)
    try:
        assert prove(stack, []) == 0
        assert signal.getsignal(stopped_by) is signal.default_int_handler
    finally:
        signal.signal(stopped_by, before)
