"""The checks of the agent that run locally too, on answers that are not as they must be."""

import json
from typing import Any

import httpx
import pytest

from tests.aws import agent
from tests.aws.agent import GUEST, MEMBER, Chat, Member
from tests.aws.check import Failed
from tests.aws.sign_in import Mailed, SignedIn
from tests.aws.stack import Stack, User
from tests.support.hosted_stand_in import MEMBER_ARN, MEMBERS_TOKEN, Hosted

EVENT = {
    "event_type": "auth_tokens",
    "access_token": MEMBERS_TOKEN,
    "guest_id": "GST-2026-7K3QXD",
    "email": "ada@example.com",
}


def given(*outputs: dict[str, Any]) -> list[str]:
    """Return the chunks of an answer in which tools gave these outputs."""
    return [json.dumps({"type": "tool-output-available", "output": each}) for each in outputs]


def refused(code: str) -> list[str]:
    return [json.dumps({"type": "error", "errorText": json.dumps({"code": code})})]


def member(stack: Stack) -> Member:
    return Member(Chat(stack, GUEST), EVENT)


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        (given(), "the agent sent no code$"),
        (given({"success": False, "error_code": "RATE_LIMITED"}), "no code: RATE_LIMITED$"),
        # The model's own words are not printed.
        (given({"success": False, "error_code": "eyJ-a-token"}), "the agent sent no code$"),
        (given({"status": "code_sent"}), "no TokenDeliveryEvent came for the right code$"),
    ],
)
def test_chat_in_which_nobody_is_signed_in_fails(
    chunks: list[str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosted = Hosted()
    hosted.chunks = chunks
    stack = hosted.stack()
    monkeypatch.setattr(stack, "user", lambda address: User(address, "a-sub"))
    monkeypatch.setattr(stack, "last_code_of", lambda _: "314159")
    with pytest.raises(Failed, match=reason):
        agent.visitor_signs_in.run(stack)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cognito_sub": "another-sub"}, "the event is another user's"),
        ({"email": "bob@example.com"}, "the event has another address"),
        ({"id_token": "no-token"}, "the id token's token is wrong"),
    ],
)
def test_event_that_is_not_the_visitors_fails(
    change: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosted = Hosted()
    stack = hosted.stack()
    monkeypatch.setattr(stack, "new_address", lambda: EVENT["email"])
    monkeypatch.setattr(stack, "user", lambda address: User(address, "a-sub"))
    monkeypatch.setattr(stack, "last_code_of", lambda _: "314159")
    tokens = {"id_token": "an-id-token", "refresh_token": "a-refresh-token"}
    event = EVENT | tokens | {"cognito_sub": "a-sub"}
    if "id_token" not in change:
        monkeypatch.setattr(agent, "require_own_tokens", lambda *_: None)
        hosted.chunks = given({"status": "code_sent"}, event)
        assert agent.visitor_signs_in.run(stack).event == event
    hosted.chunks = given({"status": "code_sent"}, event | change)
    with pytest.raises(Failed, match=reason):
        agent.visitor_signs_in.run(stack)


def test_model_that_asks_first_gets_one_more_message() -> None:
    hosted = Hosted()
    with pytest.raises(Failed, match="the agent showed no record"):
        agent.member_sees_record.run(stack := hosted.stack(), member(stack))
    assert len(hosted.requests) == 2


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        ({"guest_id": "GST-2026-AAAAAA", "email": "ada@example.com"}, "another guest's record"),
        ({"guest_id": "GST-2026-7K3QXD", "email": "bob@example.com"}, "has another address"),
    ],
)
def test_record_of_another_guest_fails(shown: dict[str, str], reason: str) -> None:
    hosted = Hosted()
    hosted.chunks = given({"success": True, "guest": shown})
    with pytest.raises(Failed, match=reason):
        agent.member_sees_record.run(stack := hosted.stack(), member(stack))


@pytest.mark.parametrize("chunks", [given({"guest": {}}), refused("busy"), ['{"type":"finish"}']])
def test_foreign_chat_that_is_not_refused_as_such_fails(chunks: list[str]) -> None:
    hosted = Hosted()
    hosted.chunks = chunks
    stack = hosted.stack()
    other = SignedIn(Mailed(User("", ""), {}, ""), {"AccessToken": MEMBERS_TOKEN})
    chat = Chat(stack, MEMBER, MEMBERS_TOKEN)
    with pytest.raises(Failed, match="another member was answered"):
        agent.foreign_chat_is_refused.run(stack, chat, other)
    hosted.chunks = refused("foreign_session")
    agent.foreign_chat_is_refused.run(stack, chat, other)
    assert len({each.headers[agent.SESSION_HEADER] for each in hosted.requests}) == 1


def test_changed_token_that_opens_the_runtime_fails() -> None:
    hosted = Hosted()
    stack = hosted.stack()
    signed = Member(Chat(stack, GUEST), EVENT | {"access_token": "head.payload.signature"})
    agent.changed_token_is_refused.run(stack, signed)
    (request,) = hosted.requests
    assert request.headers["Authorization"].startswith("Bearer head.payload.")
    assert request.headers["Authorization"] != "Bearer head.payload.signature"
    hosted.opens.add(("nobody", MEMBER_ARN, "invocations"))
    with pytest.raises(Failed, match="the answer was 200"):
        agent.changed_token_is_refused.run(stack, signed)


def test_changed_token_that_the_local_agent_answers_fails() -> None:
    hosted = Hosted()
    answers = httpx.MockTransport(
        lambda _: httpx.Response(200, text="".join(f"data: {each}\n\n" for each in hosted.chunks))
    )
    url = "http://127.0.0.1:1"
    stack = Stack(
        hosted.stack().session,
        {},
        httpx.Client(transport=answers),
        endpoint_url=url,
        agent_url=url,
    )
    signed = Member(Chat(stack, GUEST), EVENT | {"access_token": "head.payload.signature"})
    with pytest.raises(Failed, match="it was answered"):
        agent.changed_token_is_refused.run(stack, signed)
    hosted.chunks = refused("invalid_token")
    agent.changed_token_is_refused.run(stack, signed)
