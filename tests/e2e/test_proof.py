"""The proof of a deployment (`make test-aws`), on one that is right and on some that are not."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import boto3
import httpx
import pytest
from botocore import UNSIGNED

from infra.local.deployment import CREDENTIALS
from tests.aws import agent, refresh, sign_in, traces
from tests.aws.check import Check, Failed
from tests.aws.checks import CHECKS
from tests.aws.permissions import ALWAYS, permission_for
from tests.aws.run import prove
from tests.aws.sign_in import Mailed, SignedIn
from tests.aws.stack import Stack, User
from tests.aws.web import visitor_signs_in_on_page
from tests.support.agent_process import running_agent
from tests.support.deployment import Deployment

# The one waits for minutes; the other has a test beside the page's own.
QUICK = [
    each
    for each in CHECKS
    if each not in (sign_in.expired_code_is_refused, visitor_signs_in_on_page)
]


@pytest.fixture(scope="module")
def chat_url(stack: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the agent as behind AgentCore, with no page."""
    directory = tmp_path_factory.mktemp("chat")
    (directory / "page").mkdir()
    with running_agent(
        directory, stack.outputs, program=("-m", "infra.local.chat", str(directory / "page"))
    ) as url:
        yield url


@pytest.fixture
def proved(stack: Deployment, chat_url: str) -> Iterator[Stack]:
    with httpx.Client(trust_env=False) as http:
        yield Stack(
            boto3.Session(region_name=stack.outputs["region"], **CREDENTIALS),
            stack.outputs,
            http,
            endpoint_url=stack.outputs["endpoint_url"],
            agent_url=chat_url,
            attempts=1,
        )


def with_needs(each: Check) -> list[Check]:
    needed = [other for need in each.needs for other in with_needs(need)]
    return [*dict.fromkeys([*needed, each])]


def kept(stack: Deployment) -> list[set[str]]:
    """Return the names of all users, guests and items of the ledger; no hour's counts."""
    users = stack.cognito.list_users(UserPoolId=stack.outputs["UserPoolId"])["Users"]
    guests = stack.dynamodb.scan(TableName=stack.outputs["GuestsTableName"])["Items"]
    items = stack.dynamodb.scan(TableName=stack.outputs["OtpLedgerTableName"])["Items"]
    ledger = {item["sub"]["S"] for item in items if not item["sub"]["S"].startswith("stack#")}
    return [
        {user["Username"] for user in users},
        {
            name
            for guest in guests
            if not (name := guest["cognito_sub"]["S"]).startswith("newcomers#")
        },
        ledger,
    ]


def test_good_deployment_is_proved_and_left_as_it_was(
    stack: Deployment, proved: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    called: set[str] = set()

    def note(model: Any, request_signer: Any, **_: Any) -> None:
        if request_signer.signature_version is not UNSIGNED:  # else anybody may call it
            called.add(permission_for(model.name))

    proved.session.events.register("before-call", note)
    stack.new_user()  # somebody else's
    before = kept(stack)

    assert prove(proved, QUICK) == 0

    printed = capsys.readouterr().out
    assert "FAIL" not in printed
    assert "ok    a visitor signs in during a chat" in printed
    assert kept(stack) == before
    assert {secret.name for secret in proved.secrets} == {
        *("a code", "a token", "a Session", "an address")
    }
    assert not [secret for secret in proved.secrets if secret.value in printed]
    # Stacks are described, and bounces counted, on AWS alone.
    assert {*ALWAYS} - called == {"cloudformation:DescribeStacks", "cloudwatch:GetMetricStatistics"}
    assert called <= {*ALWAYS}


def test_code_is_the_one_that_was_mailed(stack: Deployment, proved: Stack) -> None:
    user = proved.new_user()
    assert proved.last_code_of(user.sub) is None
    proved.begin(user.address)
    assert proved.last_code_of(user.sub) == stack.code_mailed_to(user.address)
    proved.remove_what_was_made()


def test_failure_and_ctrl_c_leave_nothing_behind(
    stack: Deployment, proved: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(_stack: Stack, _signed_in: Any) -> None:
        proved.new_address()  # of a user whom nobody has made yet
        raise KeyboardInterrupt

    before = kept(stack)
    cut_off = Check("it is cut off", "", stop, needs=[sign_in.agent_signs_in])
    with pytest.raises(KeyboardInterrupt):
        prove(proved, [sign_in.agent_signs_in, agent.visitor_signs_in, cut_off])
    assert kept(stack) == before
    assert "removed what was made: 2 users, 5 items" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fault", "each", "reason"),
    [
        (
            {"service": "sesv2", "operation": "SendEmail", "fault": "throttle"},
            sign_in.code_is_mailed,
            "AdminInitiateAuth was answered UserLambdaValidationException "
            "ERR_EMAIL_DELIVERY_FAILED",
        ),
        (
            {
                "service": "cognito-idp",
                "operation": "AdminUpdateUserAttributes",
                "fault": "throttle",
            },
            sign_in.address_is_verified,
            "email_verified is false, not true",
        ),
    ],
)
def test_deployment_whose_calls_fail_is_not_proved(
    stack: Deployment,
    proved: Stack,
    fault: dict[str, Any],
    each: Check,
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with stack.switched(faults=[fault]):
        assert prove(proved, with_needs(each)) == 1
    assert f"FAIL  {each.name}: {reason}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "each", "reason"),
    [
        (
            {"ExplicitAuthFlows": ["ALLOW_CUSTOM_AUTH", "ALLOW_USER_PASSWORD_AUTH"]},
            sign_in.no_other_way_in,
            "InitiateAuth was answered NotAuthorizedException",
        ),
        (
            {"PreventUserExistenceErrors": "LEGACY"},
            sign_in.unknown_looks_known,
            "Cognito tells that there is no such user",
        ),
        (
            {"WriteAttributes": ["name", "locale", "email"]},
            sign_in.address_is_not_theirs_to_write,
            "a guest wrote their own email",
        ),
    ],
)
def test_client_that_was_changed_by_hand_is_found(
    stack: Deployment,
    proved: Stack,
    change: Mapping[str, Any],
    each: Check,
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = kept(stack)
    with client_changed(stack, change):
        assert prove(proved, with_needs(each)) == 1
    assert f"FAIL  {each.name}: {reason}" in capsys.readouterr().out
    assert kept(stack) == before


@pytest.mark.parametrize(
    ("change", "exit_code", "line"),
    [
        (
            {
                "RefreshTokenRotation": {"Feature": "DISABLED"},
                "ExplicitAuthFlows": ["ALLOW_CUSTOM_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
            },
            0,
            f"ok    {refresh.sign_out_ends_it.name}",
        ),
        (
            {"RefreshTokenRotation": {"Feature": "DISABLED"}},
            1,
            f"FAIL  {refresh.refresh_brings_tokens.name}: no new refresh token came",
        ),
        (
            {"ExplicitAuthFlows": ["ALLOW_CUSTOM_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"]},
            1,
            f"FAIL  {refresh.refresh_brings_tokens.name}: "
            "InitiateAuth was answered InvalidParameterException",
        ),
    ],
    ids=["no rotation", "no rotation and no flow", "both"],
)
def test_refresh_is_proved_with_and_without_rotation(
    stack: Deployment,
    proved: Stack,
    change: Mapping[str, Any],
    exit_code: int,
    line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with client_changed(stack, change):
        assert prove(proved, with_needs(refresh.sign_out_ends_it)) == exit_code
    assert line in capsys.readouterr().out


def test_code_in_a_log_is_found(
    stack: Deployment, proved: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    def leak(_: Stack, signed_in: SignedIn) -> None:
        group = stack.function("VerifyAuthChallengeResponse")["LoggingConfig"]["LogGroup"]
        names = {"logGroupName": group, "logStreamName": f"leak-{uuid4()}"}
        stack.client("logs").create_log_stream(**names)
        event = {"timestamp": int(time.time() * 1000), "message": f"got {signed_in.mailed.code}"}
        stack.client("logs").put_log_events(**names, logEvents=[event])

    leaking = Check("it leaks", "", leak, needs=[sign_in.agent_signs_in])
    logs = traces.trigger_logs_are_clean
    assert prove(proved, [sign_in.agent_signs_in, leaking, logs]) == 1
    reason = "VerifyAuthChallengeResponse's log: a code (clear)"
    assert f"FAIL  {logs.name}: {reason}" in capsys.readouterr().out


def test_address_in_the_ledger_is_found(
    stack: Deployment, proved: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    def leak(_: Stack, signed_in: SignedIn) -> None:
        user = signed_in.mailed.user
        item = stack.ledger_item(user.address) | {"to": {"S": user.address}}
        stack.dynamodb.put_item(TableName=stack.outputs["OtpLedgerTableName"], Item=item)

    leaking = Check("it leaks", "", leak, needs=[sign_in.agent_signs_in])
    ledger = traces.ledger_is_clean
    assert prove(proved, [*with_needs(ledger)[:-1], leaking, ledger]) == 1
    assert f"FAIL  {ledger.name}: the ledger: an address (clear)" in capsys.readouterr().out


def test_tokens_that_are_not_the_users_are_found(proved: Stack) -> None:
    one, other = (sign_in.agent_signs_in.run(proved) for _ in range(2))
    names = ("IdToken", "AccessToken")
    sign_in.require_own_tokens(proved, one.tokens, one.mailed.user.sub, names)
    with pytest.raises(Failed, match="the id token is another user's"):
        sign_in.require_own_tokens(proved, other.tokens, one.mailed.user.sub, names)
    with pytest.raises(Failed, match="the id token's token_use is wrong"):
        sign_in.require_own_tokens(proved, one.tokens, one.mailed.user.sub, names[::-1])
    with pytest.raises(Failed, match="the id token is another user's"):
        sign_in.tokens_are_own.run(proved, replace(one, tokens=other.tokens))
    proved.remove_what_was_made()


def test_traces_that_are_not_there_prove_nothing(
    proved: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "_LOGGED_SECONDS", 0)
    proved.started_at += 3600
    with pytest.raises(Failed, match="the Create function has logged no sign-in"):
        traces.trigger_logs_are_clean.run(proved, None)
    nobody = User("ada@example.com", "no-sub")
    with pytest.raises(Failed, match="a user who was mailed a code has no item"):
        traces.ledger_is_clean.run(proved, SignedIn(Mailed(nobody, {}, ""), {}), nobody)


@contextmanager
def client_changed(stack: Deployment, change: Mapping[str, Any]) -> Iterator[None]:
    names: Any = {
        "UserPoolId": stack.outputs["UserPoolId"],
        "ClientId": stack.outputs["UserPoolClientId"],
    }
    client: Any = stack.cognito.describe_user_pool_client(**names)["UserPoolClient"]
    as_it_was = {
        key: client[key]
        for key in (
            *("ExplicitAuthFlows", "PreventUserExistenceErrors", "WriteAttributes"),
            "RefreshTokenRotation",
        )
    }
    stack.cognito.update_user_pool_client(**names | as_it_was | change)
    try:
        yield
    finally:
        stack.cognito.update_user_pool_client(**names | as_it_was)
