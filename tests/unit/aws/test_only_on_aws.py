"""The checks that only AWS can answer, on a deployment that is right and on each that is not."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pytest

from tests.aws import agent, traces, upkeep, web
from tests.aws.agent import FORBIDDEN, GUEST, MEMBER, Chat
from tests.aws.check import Check, Failed, NotRun, Throttled
from tests.aws.checks import CHECKS
from tests.aws.permissions import ALWAYS, WITH_AGENT_OR_PAGE
from tests.aws.stack import Stack
from tests.support.clock import Passing
from tests.support.hosted_stand_in import (
    GUEST_ARN,
    MEMBER_ARN,
    MEMBERS_TOKEN,
    SCRIPT,
    Hosted,
)


class Flaw(NamedTuple):
    """One way in which a deployment can be wrong, and how the check says so."""

    name: str
    make: Callable[[Hosted], Any]
    reason: str


def set_header(path: str, name: str, value: str) -> Callable[[Hosted], None]:
    return lambda hosted: hosted.headers[path].update({name: value})


def set_policy(name: str, sources: str) -> Callable[[Hosted], None]:
    return lambda hosted: hosted.policy.update({name: sources})


def set_config(name: str, value: str) -> Callable[[Hosted], None]:
    return lambda hosted: hosted.config.update({name: value})


def open_up(caller: str, arn: str, operation: str) -> Callable[[Hosted], None]:
    return lambda hosted: hosted.opens.add((caller, arn, operation))


def let_visitor_call(operation: str) -> Callable[[Hosted], None]:
    return lambda hosted: hosted.visitor_may.add(operation)


def open_bucket(path: str) -> Callable[[Hosted], None]:
    return lambda hosted: hosted.bucket.update({path: 200})


def log(line: str) -> Callable[[Hosted], None]:
    return lambda hosted: setattr(hosted, "log_lines", [line])


FLAWS: Mapping[Check, Sequence[Flaw]] = {
    agent.no_token_is_refused: [
        Flaw("open to all", open_up("nobody", MEMBER_ARN, "invocations"), "the answer was 200")
    ],
    agent.visitor_is_no_member: [
        Flaw("takes IAM", open_up("visitor", MEMBER_ARN, "invocations"), "the answer was 200")
    ],
    agent.visitor_reads_nothing: [
        *(
            Flaw(
                f"may {operation}",
                let_visitor_call(operation),
                "answered a visitor's",
            )
            for operation in (
                *("GetItem", "Scan", "AdminGetUser", "ListUsers", "GetSecretValue"),
                "ListBuckets",
            )
        ),
        Flaw(
            "may look",
            lambda hosted: setattr(hosted, "visitor_is_told", "ResourceNotFoundException"),
            "GetItem was answered ResourceNotFoundException",
        ),
    ],
    agent.nothing_but_messages: [
        Flaw(f"{caller} {path}", open_up(caller, arn, path), f"{caller} asked for {what}: ")
        for caller, arn in (("visitor", GUEST_ARN), ("member", MEMBER_ARN))
        for what, (_, path, _, _) in FORBIDDEN.items()
    ],
    agent.runtimes_require_mmds_v2: [
        Flaw(
            "version 1 too",
            lambda hosted: hosted.metadata.update({GUEST_ARN: {"requireMMDSV2": False}}),
            "GuestRuntimeArn does not require it",
        ),
        Flaw(
            "not said",
            lambda hosted: hosted.metadata.update({MEMBER_ARN: {}}),
            "MemberRuntimeArn does not require it",
        ),
    ],
    web.headers_are_strict: [
        *(
            Flaw(f"{name} {sources}", set_policy(name, sources), f"policy's {name} is")
            for name, sources in (
                ("default-src", "'self'"),
                ("base-uri", "'self'"),
                ("form-action", "'self'"),
                ("frame-ancestors", "*"),
                ("script-src", "'self' 'unsafe-inline'"),
                ("script-src", "'self' 'unsafe-eval'"),
                ("script-src", "'self' https://cdn.example.com"),
                ("script-src", "'self' cdn.example.com"),
                ("style-src", "'self' 'unsafe-inline'"),
                ("connect-src", "'self' https://*.amazonaws.com"),
                ("connect-src", "'self'"),
            )
        ),
        Flaw(
            "no script-src",
            lambda hosted: hosted.policy.pop("script-src"),
            "policy's script-src is loose",
        ),
        Flaw("no policy", lambda hosted: hosted.policy.clear(), "policy's default-src is not"),
        Flaw("sniffing", set_header("/", "X-Content-Type-Options", ""), "nosniff is missing"),
        Flaw("referrer", set_header("/", "Referrer-Policy", "origin"), "referrer is sent on"),
        Flaw(
            "short HSTS",
            set_header("/", "Strict-Transport-Security", "max-age=3600"),
            "shorter than half a year",
        ),
        Flaw(
            "no HSTS",
            lambda hosted: hosted.headers["/"].pop("Strict-Transport-Security"),
            "shorter than half a year",
        ),
        Flaw("no page", lambda hosted: hosted.headers.pop("/"), "/ was answered 404"),
    ],
    web.caching_is_right: [
        *(
            Flaw(f"{path} cached", set_header(path, "Cache-Control", "max-age=60"), "is cached")
            for path in ("/", "/index.html", "/config.json")
        ),
        Flaw(
            "script not cached",
            set_header(SCRIPT, "Cache-Control", "no-cache"),
            "script is not cached for long",
        ),
        Flaw("no script", lambda hosted: setattr(hosted, "html", ""), "names no script"),
    ],
    web.config_agrees: [
        *(
            Flaw(f"another {name}", set_config(name, "another"), f"its {name} is another")
            for name in (
                *("region", "clientId", "cognitoEndpoint", "guestEndpoint", "memberEndpoint"),
                *("guestRuntimeArn", "identityPoolId", "guestRoleArn"),
            )
        ),
        Flaw("no config", lambda hosted: hosted.headers.pop("/config.json"), "was answered 404"),
    ],
    web.bucket_is_closed: [
        *(
            Flaw(f"{path} open", open_bucket(path), "a bucket answered 200")
            for path in ("/index.html", "/?list-type=2")
        ),
        Flaw("none", lambda hosted: hosted.resources.clear(), "the stack has no bucket"),
    ],
    upkeep.bounce_is_counted: [
        Flaw("none", lambda hosted: setattr(hosted, "bounces", [0.0]), "counts no bounce"),
        Flaw("no metric", lambda hosted: setattr(hosted, "bounces", []), "counts no bounce"),
    ],
    traces.agent_logs_are_clean: [
        Flaw("a code", log("code 314159 of a guest"), "GuestRuntimeArn's log: a code"),
        Flaw("an address", log("to ada@example.com"), "GuestRuntimeArn's log: an address"),
        Flaw("a token", log(f"Bearer {MEMBERS_TOKEN}"), "GuestRuntimeArn's log: a token"),
    ],
}
EACH = [pytest.param(each, id=each.name) for each in FLAWS]
EACH_FLAW = [
    pytest.param(each, flaw, id=f"{each.name}: {flaw.name}")
    for each, flaws in FLAWS.items()
    for flaw in flaws
]


@pytest.fixture(autouse=True)
def passing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let minutes pass at once where a check waits for a metric."""
    monkeypatch.setattr(upkeep, "time", Passing())


def run(each: Check, stack: Stack) -> None:
    needed = {agent.member_sees_record: Chat(stack, MEMBER, MEMBERS_TOKEN)}
    for name, secret in (
        ("a code", "314159"),
        ("an address", "ada@example.com"),
        ("a token", MEMBERS_TOKEN),
    ):
        stack.keep_secret(name, secret)
    each.run(stack, *[needed[other] for other in each.needs])


def test_every_check_for_aws_alone_is_tried_here() -> None:
    assert {each for each in CHECKS if each.only_on_aws} == FLAWS.keys()
    assert all(FLAWS.values())


@pytest.mark.parametrize("each", EACH)
def test_deployment_that_is_right_passes(each: Check) -> None:
    run(each, Hosted().stack())


@pytest.mark.parametrize(("each", "flaw"), EACH_FLAW)
def test_flaw_is_found(each: Check, flaw: Flaw) -> None:
    hosted = Hosted()
    flaw.make(hosted)
    with pytest.raises(Failed) as failed:
        run(each, hosted.stack())
    assert flaw.reason in str(failed.value)


@pytest.mark.parametrize(
    "each", [each for each in EACH if upkeep.bounce_is_counted not in each.values]
)
def test_what_is_not_deployed_has_not_failed(each: Check) -> None:
    stack = Hosted().stack("GuestRuntimeArn", "MemberRuntimeArn", "IdentityPoolId", "WebUrl")
    with pytest.raises(NotRun, match="not deployed: the stack has no output"):
        run(each, stack)


def test_operator_needs_no_more_than_the_permissions_for_it() -> None:
    hosted = Hosted()
    for each in FLAWS:
        run(each, hosted.stack())
    shared = {
        "cloudwatch:GetMetricStatistics",
        "cognito-idp:AdminCreateUser",
        "cognito-idp:AdminGetUser",
        "cognito-idp:AdminInitiateAuth",
        "lambda:GetFunctionConfiguration",
        "logs:FilterLogEvents",
    }
    assert hosted.operator_called == {*WITH_AGENT_OR_PAGE} | shared
    assert shared <= {*ALWAYS}


def test_runtimes_that_have_logged_nothing_yet_prove_nothing() -> None:
    hosted = Hosted()
    hosted.log_lines = None
    with pytest.raises(NotRun, match="no log group yet"):
        run(traces.agent_logs_are_clean, hosted.stack())


def test_throttled_refusal_is_no_refusal() -> None:
    hosted = Hosted()
    hosted.statuses = [429]
    with pytest.raises(Throttled):
        run(agent.no_token_is_refused, hosted.stack())


def test_visitors_message_is_signed_with_their_credentials() -> None:
    hosted = Hosted()
    chat = Chat(hosted.stack(), GUEST)
    assert [chunk["type"] for chunk in chat.say("Hello")] == ["start", "finish"]
    (request,) = hosted.requests
    assert request.headers["X-Amz-Security-Token"] == "visitors-session-token"
    authorization = request.headers["Authorization"]
    assert authorization.startswith("AWS4-HMAC-SHA256 Credential=ASIAEXAMPLEVISITOR/")
    assert "/eu-west-1/bedrock-agentcore/aws4_request" in authorization
    assert "x-amzn-bedrock-agentcore-runtime-session-id" in authorization
    assert request.headers["X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"] == chat.session_id
    assert request.content == b'{"prompt":"Hello"}'


def test_members_message_brings_the_token() -> None:
    hosted = Hosted()
    Chat(hosted.stack(), MEMBER, MEMBERS_TOKEN).say("", "314159")
    (request,) = hosted.requests
    assert request.headers["Authorization"] == f"Bearer {MEMBERS_TOKEN}"
    assert request.content == b'{"prompt":"","code":"314159"}'


def test_conflict_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    hosted = Hosted()
    hosted.statuses = [409, 409]
    assert Chat(hosted.stack(), MEMBER, MEMBERS_TOKEN).say("Hello")
    hosted.statuses = [409, 409, 409]
    with pytest.raises(Failed, match="409"):
        Chat(hosted.stack(), MEMBER, MEMBERS_TOKEN).say("Hello")


def test_answer_that_is_none_fails_and_a_throttled_one_does_not() -> None:
    hosted = Hosted()
    chat = Chat(hosted.stack(), MEMBER, MEMBERS_TOKEN)
    hosted.statuses = [424, 429]
    with pytest.raises(Failed, match="the runtime answered 424"):
        chat.say("Hello")
    with pytest.raises(Throttled):
        chat.say("Hello")
