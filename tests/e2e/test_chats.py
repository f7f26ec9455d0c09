"""Chats as guests have them: over HTTP, with the running agent, MiniStack and mails."""

import json
import re
import secrets
import string
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.sign_in.outcomes import ErrorCode
from tests.support.agent_process import Chat, ask_for_code, running_agent, sign_in, tokens_in
from tests.support.chunks import outputs_of, text_of
from tests.support.deployment import Deployment, other_than


@pytest.fixture
def address() -> str:
    # Letters alone: of what is no whole address, digits in a row are hidden as a code.
    return f"ada-{''.join(secrets.choice(string.ascii_lowercase) for _ in range(12))}@example.com"


@pytest.fixture
def guest(agent_url: str) -> Chat:
    return Chat(agent_url)


def ask_for_another_code(guest: Chat, words: str, stack: Deployment, address: str) -> None:
    """Say the words after the cooldown; a new code is mailed."""
    stack.age_ledger(address, 31)
    time.sleep(1.1)  # the agent knows a new code by when it expires, in seconds
    assert "I have sent a 6-digit code" in text_of(guest.say(words))


def assert_refused(chunks: list[dict[str, Any]], error_code: ErrorCode, words: str) -> None:
    """Assert that the one tool call gave this error, and the guest was told so in these words."""
    (output,) = outputs_of(chunks)
    assert (output["success"], output["error_code"]) == (False, error_code)
    assert re.search(words, text_of(chunks)), text_of(chunks)
    assert error_code not in text_of(chunks)


@pytest.mark.parametrize(
    ("question", "word"),
    [("Hello!", "Hello"), ("When is breakfast?", "Breakfast"), ("Is there parking?", "parking")],
)
def test_anonymous_question_is_answered_without_any_sign_in(
    guest: Chat, question: str, word: str
) -> None:
    chunks = guest.say(question)
    assert word in text_of(chunks)
    assert {chunk["type"] for chunk in chunks} == {
        "start",
        "text-start",
        "text-delta",
        "text-end",
        "finish",
    }


def test_personal_question_is_answered_by_asking_who_it_is(
    guest: Chat, stack: Deployment, address: str
) -> None:
    assert "your e-mail address and your name" in text_of(guest.say("Show me my bookings"))
    assert "your e-mail address" in text_of(guest.say("I'm Ada Lovelace"))
    assert "6-digit code to a***@e***.com" in text_of(guest.say(address))
    assert "Welcome, Ada Lovelace!" in text_of(guest.say("", code=stack.code_mailed_to(address)))


@pytest.mark.parametrize(
    "enter",
    [
        lambda guest, code: guest.say("", code=code),
        lambda guest, code: guest.say("", code=f"{code[:3]} {code[3:]}"),
        lambda guest, code: guest.say("Here you are", code=code),
        lambda guest, code: guest.say(code),
        lambda guest, code: guest.say(f"it's {code[:3]} {code[3:]}"),
        lambda guest, code: guest.say(f"My code is {code[:2]}-{code[2:4]}-{code[4:]}, thank you!"),
    ],
    ids=["box", "box, spaced", "box and words", "typed", "typed in words", "typed with hyphens"],
)
def test_code_is_taken_by_code_box_and_typed(
    guest: Chat,
    stack: Deployment,
    address: str,
    enter: Callable[[Chat, str], list[dict[str, Any]]],
) -> None:
    ask_for_code(guest, address)
    event = tokens_in(enter(guest, stack.code_mailed_to(address)))
    assert event["email"] == address
    assert event["cognito_sub"] == stack.attributes(address)["sub"]


def test_wrong_code_costs_a_try_and_the_right_one_then_signs_in(
    guest: Chat, stack: Deployment, address: str
) -> None:
    ask_for_code(guest, address)
    code = stack.code_mailed_to(address)
    assert_refused(guest.say("", code=other_than(code)), ErrorCode.INVALID_OTP, "2 tries left")
    assert_refused(guest.say("it's 12345"), ErrorCode.INVALID_OTP, "2 tries left")
    assert_refused(guest.say(other_than(code)), ErrorCode.INVALID_OTP, "1 try left")
    tokens_in(guest.say("", code=code))


def test_too_many_wrong_codes_end_the_login_and_a_new_code_begins_another(
    guest: Chat, stack: Deployment, address: str
) -> None:
    ask_for_code(guest, address)
    wrong = other_than(stack.code_mailed_to(address))
    guest.say("", code=wrong)
    guest.say("", code=wrong)
    chunks = guest.say("", code=wrong)
    assert_refused(chunks, ErrorCode.MAX_ATTEMPTS_EXCEEDED, "last try for now.*new code")

    ask_for_another_code(guest, "new code", stack, address)
    tokens_in(guest.say("", code=stack.code_mailed_to(address)))


def test_after_too_many_wrong_codes_the_wait_told_is_the_wait_that_is(
    guest: Chat, stack: Deployment, address: str
) -> None:
    ask_for_code(guest, address)
    wrong = other_than(stack.code_mailed_to(address))
    for _ in range(3):
        chunks = guest.say("", code=wrong)
    told = outputs_of(chunks)[0]["retry_after_seconds"]
    assert 0 < told <= 30
    assert f"A new code can be mailed in {told} seconds." in text_of(chunks)
    chunks = guest.say("", code=wrong)
    assert_refused(
        chunks, ErrorCode.NO_LOGIN_PENDING, "new code to go on.*A new code can be mailed in"
    )

    chunks = guest.say("new code")
    assert "is still good for" in text_of(chunks)
    assert 0 < outputs_of(chunks)[0]["retry_after_seconds"] <= told
    assert len(stack.mails_to(address)) == 1
    tokens_in(guest.say("", code=stack.code_mailed_to(address)))


def test_second_chat_is_told_that_its_code_may_be_used_already(
    guest: Chat, stack: Deployment, address: str
) -> None:
    ask_for_code(guest, address)
    second = Chat(guest.url)
    second.say(f"I'm Ada, {address}")
    code = stack.code_mailed_to(address)
    tokens_in(guest.say("", code=code))
    chunks = second.say("", code=code)
    assert_refused(chunks, ErrorCode.INVALID_OTP, "or was used already.*or ask for a new code")
    # Nobody may see that the guest has signed in: it looks as before.
    (joined,) = outputs_of(second.say("new code"))
    assert joined["new_mail"] is False
    assert 0 < joined["retry_after_seconds"] <= 30
    ask_for_another_code(second, "new code", stack, address)
    tokens_in(second.say("", code=stack.code_mailed_to(address)))


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (".{}", "a dot at the beginning"),
        ("foo.@docomo.ne.jp", "a dot at the beginning or the end"),
        ("ada@b\u00fccher.example", "xn--"),
    ],
)
def test_t13_address_that_no_code_can_go_to_is_told_why(
    guest: Chat, stack: Deployment, address: str, typed: str, words: str
) -> None:
    chunks = guest.say(f"I'm Ada, {typed.format(address)}")
    assert_refused(chunks, ErrorCode.INVALID_EMAIL, words)
    assert not stack.mails_to(address)


def test_t13_address_with_something_unseen_in_it_gets_its_code(
    guest: Chat, stack: Deployment, address: str
) -> None:
    ask_for_code(guest, f"\ufeff{address.replace('@', '\u200b@')}\u2060")
    assert tokens_in(guest.say(stack.code_mailed_to(address)))["email"] == address


def test_resend_within_the_cooldown_points_at_the_mail_already_sent(
    guest: Chat, stack: Deployment, address: str
) -> None:
    ask_for_code(guest, address)
    answer = text_of(guest.say("I didn't get it"))
    assert "is still good for" in answer
    assert "spam folder" in answer
    assert len(stack.mails_to(address)) == 1
    tokens_in(guest.say("", code=stack.code_mailed_to(address)))


def test_resend_after_the_cooldown_mails_a_new_code(
    guest: Chat, stack: Deployment, address: str
) -> None:
    ask_for_code(guest, address)
    ask_for_another_code(guest, "I didn't get it", stack, address)
    assert len(stack.mails_to(address)) == 2
    tokens_in(guest.say("", code=stack.code_mailed_to(address)))


def test_second_chat_is_told_that_the_code_just_mailed_holds_and_when_to_ask_again(
    guest: Chat, stack: Deployment, address: str
) -> None:
    ask_for_code(guest, address)
    stack.age_ledger(address, 2)
    second = Chat(guest.url)
    chunks = second.say(f"I'm Ada, {address}")
    (joined,) = outputs_of(chunks)
    assert joined["new_mail"] is False
    assert 0 < joined["retry_after_seconds"] <= 28
    assert "is still good" in text_of(chunks)

    for _ in range(4):
        stack.age_ledger(address, 31)
        guest.say("Please send a new code")
    stack.age_ledger(address, 31)
    chunks = guest.say("Please send a new code")
    (capped,) = outputs_of(chunks)
    assert capped["new_mail"] is False
    assert 540 < capped["retry_after_seconds"] <= 600
    assert "ask me again in 10 minutes" in text_of(chunks)
    assert len(stack.mails_to(address)) == 5
    tokens_in(guest.say("", code=stack.code_mailed_to(address)))


def test_t10_too_many_codes_are_refused_with_the_minutes_to_wait(
    guest: Chat, stack: Deployment, address: str
) -> None:
    ask_for_code(guest, address)
    for _ in range(4):
        stack.age_ledger(address, 31)
        guest.say("Please send a new code")
    tokens_in(guest.say("", code=stack.code_mailed_to(address)))
    stack.age_ledger(address, 31)

    chunks = Chat(guest.url).say(f"I'm Ada, {address}")

    (joined,) = outputs_of(chunks)
    assert joined["new_mail"] is False
    assert 540 < joined["retry_after_seconds"] <= 600
    assert "ask me again in 10 minutes" in text_of(chunks)
    stack.age_ledger(address, 300)
    chunks = Chat(guest.url).say(f"I'm Ada, {address}")
    assert_refused(chunks, ErrorCode.RATE_LIMITED, "mailed in 5 minutes")
    assert len(stack.mails_to(address)) == 5


def test_t23_changed_mind_about_the_address_makes_the_first_code_useless(
    guest: Chat, stack: Deployment, address: str
) -> None:
    first = f"old-{address}"
    ask_for_code(guest, first)
    first_code = stack.code_mailed_to(first)
    assert "Which e-mail address" in text_of(guest.say("Sorry, that was the wrong address"))
    assert "a***@e***.com" in text_of(guest.say(f"It's {address}"))
    code = stack.code_mailed_to(address)
    if first_code != code:
        assert_refused(guest.say("", code=first_code), ErrorCode.INVALID_OTP, "2 tries left")
    assert tokens_in(guest.say("", code=code))["email"] == address


def test_t11_mail_that_cannot_be_sent_is_told_and_the_next_try_sends_it(
    guest: Chat, stack: Deployment, address: str
) -> None:
    with stack.sender_not_verified():
        chunks = guest.say(f"I'm Ada, {address}")
    assert_refused(chunks, ErrorCode.ERR_EMAIL_DELIVERY_FAILED, "could not be sent")

    assert "I have sent a 6-digit code" in text_of(guest.say("Please try again"))
    tokens_in(guest.say("", code=stack.code_mailed_to(address)))


@contextmanager
def agent_with(stack: Deployment, directory: Path, **changes: str) -> Iterator[Chat]:
    """Start an agent with other outputs of the stack in its environment; yields a guest of it."""
    with running_agent(directory, stack.outputs | changes) as url:
        yield Chat(url)


def test_t24_login_service_that_does_not_work_is_told_in_fixed_words(
    stack: Deployment, tmp_path: Path, address: str
) -> None:
    with agent_with(stack, tmp_path, UserPoolClientId="nosuchclient") as guest:
        chunks = guest.say(f"I'm Ada, {address}")
    assert_refused(chunks, ErrorCode.AUTH_SERVICE_ERROR, "does not work right now")
    assert "nosuchclient" not in str(chunks)


def test_guest_that_cannot_be_stored_gets_no_tokens_and_is_told_so(
    stack: Deployment, tmp_path: Path, address: str
) -> None:
    # After the ledger's one write: the record's, each time it is tried.
    record = {"service": "dynamodb", "operation": "UpdateItem", "calls": [2, 3, 4]}
    with agent_with(stack, tmp_path) as guest:
        ask_for_code(guest, address)
        code = stack.code_mailed_to(address)
        with stack.switched(faults=[record | {"fault": "throttle"}]):
            chunks = guest.say("", code=code)
        told = outputs_of(chunks)[0]["retry_after_seconds"]
        again = guest.say("new code")
    assert_refused(chunks, ErrorCode.GUEST_CREATION_FAILED, "record could not be saved")
    assert f"A new code can be mailed in {told} seconds" in text_of(chunks)
    (joined,) = outputs_of(again)
    assert joined["new_mail"] is False
    assert 0 < joined["retry_after_seconds"] <= told
    assert "eyJ" not in str(chunks)
    assert "tokens not revoked" not in (tmp_path / "agent.log").read_text()


def test_guests_table_that_does_not_answer_is_told_before_any_mail(
    stack: Deployment, tmp_path: Path, address: str
) -> None:
    """Nobody could end a sign-in without it, nor be counted."""
    with agent_with(stack, tmp_path, GuestsTableName="no-such-table") as guest:
        chunks = guest.say(f"I'm Ada Lovelace, {address}")
    assert_refused(chunks, ErrorCode.AUTH_SERVICE_ERROR, "does not work right now")
    assert not stack.mails_to(address)


def test_restart_in_mid_login_is_told_and_the_visitor_starts_again(
    guest: Chat, stack: Deployment, tmp_path: Path, address: str
) -> None:
    ask_for_code(guest, address)
    code = stack.code_mailed_to(address)
    with running_agent(tmp_path, stack.outputs) as url:
        guest = Chat(url, session_id=guest.session_id)
        for chunks in (guest.say("", code=code), guest.say(code)):
            assert_refused(
                chunks,
                ErrorCode.NO_LOGIN_PENDING,
                "new code to go on, and give your e-mail",
            )

        ask_for_code(guest, address)
        tokens_in(guest.say("", code=stack.code_mailed_to(address)))


def test_visitor_who_wants_to_sign_out_is_shown_how(
    guest: Chat, stack: Deployment, address: str
) -> None:
    event = sign_in(stack, Chat(guest.url), address)
    for anyone in (guest, Chat(guest.url, access_token=event["access_token"])):
        assert "sign-out button" in text_of(anyone.say("Please sign me out"))


def test_members_session_is_a_new_one_that_knows_nothing_of_the_guests(
    guest: Chat, stack: Deployment, address: str
) -> None:
    ask_for_code(guest, address)
    event = tokens_in(guest.say("", code=stack.code_mailed_to(address)))

    same = Chat(guest.url, event["access_token"], guest.session_id)
    with pytest.raises(httpx.HTTPStatusError) as refused:
        same.say("Show me my profile")
    assert refused.value.response.json()["code"] == "foreign_session"

    member = Chat(guest.url, event["access_token"])
    assert "new code" not in text_of(member.say("Please send it again"))
    assert event["guest_id"] in text_of(member.say("Show me my profile"))
    stranger = Chat(guest.url)
    assert "What are your e-mail address" in text_of(stranger.say("Please send the code again"))
    assert len(stack.mails_to(address)) == 1


def test_second_sign_in_finds_the_same_guest_and_moves_the_last_login(
    stack: Deployment, agent_url: str, address: str
) -> None:
    first = sign_in(stack, Chat(agent_url), address)
    stack.dynamodb.update_item(
        TableName=stack.outputs["GuestsTableName"],
        Key={"cognito_sub": {"S": first["cognito_sub"]}},
        UpdateExpression="SET last_login_at = :at, created_at = :at",
        ExpressionAttributeValues={":at": {"N": "1700000000"}},
    )
    stack.age_ledger(address, 31)
    second = sign_in(stack, Chat(agent_url), address)

    assert (second["guest_id"], second["cognito_sub"]) == (first["guest_id"], first["cognito_sub"])
    member = Chat(agent_url, second["access_token"])
    (shown,) = outputs_of(member.say("Show me my profile"))
    assert shown["guest"]["guest_since"] == "2023-11-14T22:13:20Z"
    assert shown["guest"]["last_login_at"] > "2026"


def test_address_that_the_team_changed_is_the_guests_from_the_next_sign_in_on(
    stack: Deployment, agent_url: str, address: str
) -> None:
    first = sign_in(stack, Chat(agent_url), address)
    new = f"new-{address}"
    stack.change_user(first["cognito_sub"], email=new, email_verified="true")
    stack.age_ledger(new, 31)
    second = sign_in(stack, Chat(agent_url), new)

    assert (second["guest_id"], second["cognito_sub"]) == (first["guest_id"], first["cognito_sub"])
    assert second["email"] == new
    member = Chat(agent_url, second["access_token"])
    assert outputs_of(member.say("Show me my profile"))[0]["guest"]["email"] == new


def log_lines(stack: Deployment, trigger: str, since: float) -> list[dict[str, Any]]:
    """Return what a trigger has logged since a time, epoch seconds; oldest first."""
    group = stack.function(trigger)["LoggingConfig"]["LogGroup"]
    events = stack.client("logs").filter_log_events(
        logGroupName=group, startTime=int(since * 1000)
    )["events"]
    return [json.loads(each["message"]) for each in events if each["message"].startswith("{")]


def test_one_correlation_id_leads_from_the_agents_log_to_the_triggers(
    stack: Deployment, tmp_path: Path, address: str
) -> None:
    started_at = time.time()
    with running_agent(tmp_path, stack.outputs) as url:
        guest = Chat(url)
        ask_for_code(guest, address)
        code = stack.code_mailed_to(address)
        guest.say("", code=other_than(code))
        guest.say("", code=code)
        with pytest.raises(httpx.HTTPStatusError):
            Chat(url, access_token="none").say("Hi")
    lines = [
        line
        for line in map(json.loads, (tmp_path / "agent.log").read_text().splitlines())
        if line["logger"].startswith("agent.")
    ]
    assert [(line["message"], line.get("outcome")) for line in lines] == [
        ("code requested", "CODE_SENT"),
        ("code answered", "INVALID_OTP"),
        ("code answered", "SIGNED_IN"),
        ("access token refused", None),
        ("request refused", "invalid_token"),
    ]
    (correlation_id,) = {line["correlation_id"] for line in lines[:3]}
    assert not [line for line in lines[3:] if "correlation_id" in line]

    def told(trigger: str, key: str) -> list[Any]:
        return [
            line[key]
            for line in log_lines(stack, trigger, started_at)
            if line.get("correlation_id") == correlation_id
        ]

    assert told("VerifyAuthChallengeResponse", "correct") == [False, True]
    assert told("DefineAuthChallenge", "step") == ["challenge", "issue_tokens"]
