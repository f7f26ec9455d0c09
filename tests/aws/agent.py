"""The agent: a guest's chat, a member's, and all that neither may do."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from agent.sign_in.outcomes import ErrorCode
from tests.aws.check import DENIED, Failed, Throttled, check, require, require_refused
from tests.aws.sign_in import SignedIn, agent_signs_in, require_own_tokens
from tests.aws.stack import Stack, new_session_id
from tests.support.chunks import chunks_in, outputs_of

GUEST, MEMBER = "GuestRuntimeArn", "MemberRuntimeArn"
SESSION_HEADER = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"

_NO_AGENTCORE = "MiniStack has no AgentCore"
_LOOK_AT_RUNTIME = "Look at the runtime's log group, /aws/bedrock-agentcore/runtimes/<its id>."
_LOOK_AT_ROLES = "Compare the roles and resource policies with the template: deploy it again."
_QUESTION = "Please show me my profile."
_TRIES = 3  # while AgentCore says that another operation on the session is under way
_SECONDS = 120  # a cold start, and a real model that calls two tools

# Paths that AgentCore has for a runtime beside /invocations, as in boto3's service model and
# https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-get-started-websocket.html
# https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-get-started-command-shell.html
_UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "cHJvb2Ytb2YtYS1zdGFjaw==",
}
FORBIDDEN: Mapping[str, tuple[str, str, Mapping[str, str], Any]] = {
    "a command": ("POST", "commands", {}, {"command": "true", "timeout": 5}),
    "a shell": ("GET", "ws/shells", _UPGRADE, None),
    "a WebSocket": ("GET", "ws", _UPGRADE, None),
    "StopRuntimeSession": ("POST", "stopruntimesession", {}, {}),
}


@dataclass
class Chat:
    """One chat at one of the two runtimes; locally both are the one agent.

    Attributes:
        runtime: `GUEST` or `MEMBER`.
        access_token: The member's.
    """

    stack: Stack
    runtime: str
    access_token: str | None = None
    session_id: str = field(default_factory=new_session_id)

    def say(self, prompt: str, code: str | None = None) -> list[dict[str, Any]]:
        """Say something; returns the answer's chunks.

        Raises:
            Failed: The answer is none.
            Throttled: AWS said to slow down.
        """
        for tried in range(1, _TRIES + 1):
            with self.asking(prompt, code) as answer:
                if answer.status_code == 409 and tried < _TRIES:
                    time.sleep(1)
                    continue
                if answer.status_code == 429:
                    raise Throttled("AgentCore")
                require(answer.status_code == 200, f"the runtime answered {answer.status_code}")
                return [*chunks_in(answer.iter_lines())]
        raise AssertionError("the last try returns or raises")

    def asking(self, prompt: str, code: str | None = None) -> Any:
        """Return a context with the response to a message."""
        asked = {"prompt": prompt} | ({"code": code} if code else {})
        return self.stack.http.stream(
            "POST", self.url("invocations"), json=asked, timeout=_SECONDS, **self.as_caller()
        )

    def url(self, operation: str) -> str:
        """Return the address of an operation on the runtime."""
        if self.stack.agent_url:
            return f"{self.stack.agent_url}/{operation}"
        arn = quote(self.stack.output(self.runtime), safe="")
        host = f"https://bedrock-agentcore.{self.stack.region}.amazonaws.com"
        return f"{host}/runtimes/{arn}/{operation}?qualifier=DEFAULT"

    def as_caller(self) -> dict[str, Any]:
        """Return what says who calls, and in which chat."""
        headers = {SESSION_HEADER: self.session_id}
        if self.access_token:
            return {"headers": headers | {"Authorization": f"Bearer {self.access_token}"}}
        if self.runtime == GUEST and not self.stack.is_local:
            return {"headers": headers, "auth": self.stack.signed_as_guest()}
        return {"headers": headers}


@dataclass(frozen=True)
class Member:
    """Who signed in during a chat, and the chat they had as a visitor."""

    chat: Chat
    event: dict[str, Any]


def _until(
    found: Callable[[dict[str, Any]], Any], otherwise: str, *says: Callable[[], Any]
) -> dict[str, Any]:
    """Say one thing after the other until a tool's output is what is looked for."""
    told: list[str] = []
    for say in says:
        for output in outputs_of(say()):
            if isinstance(output, dict) and found(output):
                return output
            if isinstance(output, dict) and output.get("error_code") in [*ErrorCode]:
                told.append(output["error_code"])
    raise Failed(otherwise + (f": {told[-1]}" if told else ""))


@check(
    "a visitor signs in during a chat, and the tokens are on the stream",
    advice=_LOOK_AT_RUNTIME,
)
def visitor_signs_in(stack: Stack) -> Member:
    chat, address = Chat(stack, GUEST), stack.new_address()
    _until(
        lambda output: output.get("status") == "code_sent",
        "the agent sent no code",
        lambda: chat.say(f"I'm Proof Guest, {address}. {_QUESTION}"),
        lambda: chat.say(f"Yes, please mail a sign-in code to {address}."),
    )
    user = stack.user(address)
    code = stack.code_mailed_to(user)
    event = _until(
        lambda output: output.get("event_type") == "auth_tokens",
        "no TokenDeliveryEvent came for the right code",
        lambda: chat.say("", code),
        lambda: chat.say("That was the code from your mail.", code),
    )
    for name in ("id_token", "access_token", "refresh_token"):
        stack.keep_secret("a token", event[name])
    require_own_tokens(stack, event, user.sub, ("id_token", "access_token"))
    require(event.get("cognito_sub") == user.sub, "the event is another user's")
    require(event.get("email") == address, "the event has another address")
    return Member(chat, event)


@check(
    "a member sees their own record",
    advice=_LOOK_AT_RUNTIME,
    needs=(visitor_signs_in,),
)
def member_sees_record(stack: Stack, member: Member) -> Chat:
    chat = Chat(stack, MEMBER, member.event["access_token"])
    shown = _until(
        lambda output: output.get("guest"),
        "the agent showed no record",
        lambda: chat.say(_QUESTION),
        lambda: chat.say("Yes, my guest record please."),
    )["guest"]
    require(shown["guest_id"] == member.event["guest_id"], "it is another guest's record")
    require(shown["email"] == member.event["email"], "the record has another address")
    return chat


@check(
    "nobody goes on with a member's chat but they",
    advice=_LOOK_AT_RUNTIME,
    needs=(member_sees_record, agent_signs_in),
)
def foreign_chat_is_refused(stack: Stack, chat: Chat, other: SignedIn) -> None:
    intruder = Chat(stack, MEMBER, other.tokens["AccessToken"], chat.session_id)
    refusal = _refusal(intruder.say(_QUESTION))
    require(refusal == "foreign_session", "another member was answered")


@check(
    "an access token that was changed opens nothing",
    advice=_LOOK_AT_ROLES,
    needs=(visitor_signs_in,),
)
def changed_token_is_refused(stack: Stack, member: Member) -> None:
    head, payload, signature = member.event["access_token"].split(".")
    middle = len(signature) // 2
    other = "A" if signature[middle] != "A" else "B"
    changed = f"{head}.{payload}.{signature[:middle]}{other}{signature[middle + 1 :]}"
    with Chat(stack, MEMBER, changed).asking(_QUESTION) as answer:
        if stack.is_local:
            require(_refusal(chunks_in(answer.iter_lines())) == "invalid_token", "it was answered")
        else:
            _require_closed(answer)


@check(
    "no token, no member's runtime",
    advice=_LOOK_AT_ROLES,
    only_on_aws=_NO_AGENTCORE,
)
def no_token_is_refused(stack: Stack) -> None:
    with Chat(stack, MEMBER).asking(_QUESTION) as answer:
        _require_closed(answer)


@check(
    "a visitor's credentials open no member's runtime",
    advice=_LOOK_AT_ROLES,
    only_on_aws=_NO_AGENTCORE,
)
def visitor_is_no_member(stack: Stack) -> None:
    chat = Chat(stack, MEMBER)
    with stack.http.stream(
        "POST",
        chat.url("invocations"),
        json={"prompt": _QUESTION},
        headers={SESSION_HEADER: chat.session_id},
        auth=stack.signed_as_guest(),
        timeout=_SECONDS,
    ) as answer:
        _require_closed(answer)


@check(
    "a visitor's credentials read no table, user, secret or bucket",
    advice=_LOOK_AT_ROLES,
    only_on_aws="MiniStack gives visitors no role of the stack's",
)
def visitor_reads_nothing(stack: Stack) -> None:
    secret = stack.trigger("CreateAuthChallenge")["Environment"]["Variables"]
    outputs, pool = stack.outputs, stack.outputs["UserPoolId"]
    visitors = stack.guest_credentials()

    def may_not(service: str, operation: str, **asked: Any) -> None:
        client = stack.client(service, credentials=visitors)
        require_refused(
            lambda: getattr(client, operation)(**asked),
            DENIED,
            f"{service} answered a visitor's {operation}",
        )

    key = {"S": "nobody"}
    may_not("dynamodb", "get_item", TableName=outputs["GuestsTableName"], Key={"cognito_sub": key})
    may_not("dynamodb", "get_item", TableName=outputs["OtpLedgerTableName"], Key={"sub": key})
    may_not("dynamodb", "scan", TableName=outputs["GuestsTableName"])
    may_not("cognito-idp", "admin_get_user", UserPoolId=pool, Username="nobody")
    may_not("cognito-idp", "list_users", UserPoolId=pool)
    may_not("secretsmanager", "get_secret_value", SecretId=secret["CODE_KEY_SECRET_ARN"])
    may_not("s3", "list_buckets")


@check(
    "neither visitors nor members open a shell, a command, a WebSocket, or end a session",
    advice="Each runtime needs its resource policy, for exactly its ARN: deploy the stack again.",
    needs=(member_sees_record,),
    only_on_aws=_NO_AGENTCORE,
)
def nothing_but_messages(stack: Stack, member: Chat) -> None:
    for who, chat in (("a visitor", Chat(stack, GUEST)), ("a member", member)):
        for what, (method, path, headers, body) in FORBIDDEN.items():
            called = chat.as_caller()
            called["headers"] |= headers
            with stack.http.stream(
                method, chat.url(path), json=body, timeout=_SECONDS, **called
            ) as answer:
                _require_closed(answer, f"{who} asked for {what}: ")


@check(
    "both runtimes hand out credentials by MMDSv2 alone",
    advice="New runtimes are said to require it: deploy with agent=false, then again with true.",
    only_on_aws=_NO_AGENTCORE,
)
def runtimes_require_mmds_v2(stack: Stack) -> None:
    for output in (GUEST, MEMBER):
        runtime_id = stack.output(output).rpartition("/")[2]
        runtime = stack.client("bedrock-agentcore-control").get_agent_runtime(
            agentRuntimeId=runtime_id
        )
        required = runtime.get("metadataConfiguration", {}).get("requireMMDSV2")
        require(required is True, f"the runtime of {output} does not require it")


def _require_closed(answer: httpx.Response, what: str = "") -> None:
    """Let the check fail unless AWS itself says that the caller may not."""
    if answer.status_code == 429:
        raise Throttled("AgentCore")
    require(answer.status_code in (401, 403), f"{what}the answer was {answer.status_code}")


def _refusal(chunks: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> str:
    """Return the code of the refusal that a stream is; empty if it is another answer."""
    for chunk in chunks:
        if chunk["type"] == "error":
            try:
                return str(json.loads(chunk["errorText"])["code"])
            except (KeyError, TypeError, ValueError):
                return ""
    return ""
