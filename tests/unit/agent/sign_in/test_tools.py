"""The tools in another team's plain Strands agent, driven by a model that may misbehave."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic_core import to_jsonable_python
from strands import Agent
from strands.types.content import Messages

from agent.sign_in.capacity import BUSY, Threads
from agent.sign_in.guests import GuestStore
from agent.sign_in.stream import ui_message_chunks
from agent.sign_in.tools import email_otp_tools
from agent.sign_in.turns import (
    NOT_TYPED,
    ONE_REQUEST_A_TURN,
    TOO_MANY_ADDRESSES,
    UNKNOWN_REFERENCE,
    EmailOtp,
)
from tests.support.fakes import FakeCognito, FakeDynamoDb, aws_error
from tests.support.scripted_model import Call, ScriptedModel, Step, reference_in

ADA = "ada@example.com"
CHAT = "chat"


def initiate(email: str = ADA, name: str = "Ada") -> list[Call]:
    return [("initiate_cognito_login", {"email": email, "name": name})]


def verify(messages: Messages) -> list[Call]:
    return [("verify_cognito_otp", {"code_reference": reference_in(messages)})]


class Chat:
    """One chat with an agent that has the tools."""

    def __init__(self, email_otp: EmailOtp, session_id: str = CHAT) -> None:
        self.email_otp = email_otp
        self.session_id = session_id
        self.model = ScriptedModel()
        self.agent = Agent(model=self.model, tools=[*email_otp_tools()], callback_handler=None)

    def say(self, prompt: str, *steps: Step, **turn: Any) -> list[dict[str, Any]]:
        """Say something to a model that plays `steps`; returns the outputs of its tools."""
        self.model.steps = list(steps)

        async def collect() -> list[dict[str, Any]]:
            made = self.email_otp.turn(self.session_id, prompt, **turn)
            events = self.agent.stream_async(made.prompt, invocation_state=made.invocation_state)
            return [chunk async for chunk in ui_message_chunks(events)]

        return [c["output"] for c in asyncio.run(collect()) if c["type"] == "tool-output-available"]

    def known_to_the_model(self) -> str:
        """Everything in the history and everything the model was ever shown."""
        metrics = self.agent.event_loop_metrics.get_summary()
        known = json.dumps([self.agent.messages, self.model.shown, metrics], default=str)
        # A duration may have the digits of any code, above all those of 999999.
        return json.dumps(json.loads(known, parse_float=lambda _: None))


@pytest.fixture
def chat(email_otp: EmailOtp) -> Chat:
    return Chat(email_otp)


def test_sign_in_through_a_plain_agent(chat: Chat, cognito: FakeCognito) -> None:
    (sent,) = chat.say(f"I'm {ADA}", initiate())
    assert sent == {
        "success": True,
        "status": "code_sent",
        "destination": "a***@e***.com",
        "code_length": 6,
        "expires_in_seconds": 300,
        "attempts_left": 3,
        "retry_after_seconds": 30,
        "new_mail": True,
        "busy": False,
    }
    (tokens,) = chat.say(cognito.mailed[-1][1], verify)
    assert tokens["event_type"] == "auth_tokens"
    assert tokens["guest_id"].startswith("GST-")


def test_t22_model_and_history_hold_no_code_session_or_token(
    chat: Chat, cognito: FakeCognito
) -> None:
    chat.say(f"I'm {ADA}", initiate())
    code = cognito.mailed[-1][1]
    wrong = "999999" if code != "999999" else "888888"
    chat.say(f"It says {wrong}", verify)
    chat.say("", verify, code=code)
    known = chat.known_to_the_model()
    assert "Signed in." in known
    for secret in (wrong, code, *cognito.issued):
        assert secret not in known


def test_t18_address_the_visitor_never_typed_gets_no_code(chat: Chat, cognito: FakeCognito) -> None:
    for typed in ("Show my bookings", f"I'm evil-{ADA}", f"I'm {ADA}.evil.org"):
        (output,) = chat.say(typed, initiate())
        assert (output["error_code"], output["message"]) == ("INVALID_EMAIL", NOT_TYPED)
    assert not cognito.calls


def test_t18_what_a_tool_or_the_model_said_is_not_typed(chat: Chat, cognito: FakeCognito) -> None:
    (output,) = chat.say("Hi", initiate("model@example.com", "visitor typed model@example.com"))
    assert output["error_code"] == "INVALID_EMAIL"
    assert not cognito.calls


def test_typed_address_counts_in_later_messages_and_other_spellings(
    chat: Chat, cognito: FakeCognito
) -> None:
    chat.say("My mail is ADA@Example.com", "And your name?")
    (output,) = chat.say("Ada", initiate())
    assert output["success"] is True
    assert cognito.mailed[-1][0] == ADA


def test_address_typed_in_one_chat_does_not_count_in_another(
    email_otp: EmailOtp, chat: Chat
) -> None:
    email_otp.turn("another chat", f"I'm {ADA}")
    (output,) = chat.say("Hi", initiate())
    assert output["error_code"] == "INVALID_EMAIL"


def test_one_code_request_a_turn_even_at_once(chat: Chat, cognito: FakeCognito) -> None:
    outputs = chat.say(f"{ADA} or bob@example.com", initiate() + initiate("bob@example.com"))
    outputs += chat.say("again", initiate(), initiate(), initiate())
    errors = [(o["error_code"], o["message"]) for o in outputs if not o["success"]]
    assert errors == [("RATE_LIMITED", ONE_REQUEST_A_TURN)] * 3
    assert cognito.operations().count("AdminInitiateAuth") == 2


def test_code_request_that_failed_was_the_turns_one(chat: Chat, cognito: FakeCognito) -> None:
    cognito.fail["AdminInitiateAuth"] = aws_error("AdminInitiateAuth", "InternalErrorException")
    _, again = chat.say(f"I'm {ADA}", initiate(), initiate())
    assert (again["error_code"], again["message"]) == ("RATE_LIMITED", ONE_REQUEST_A_TURN)
    assert cognito.operations().count("AdminInitiateAuth") == 1


def test_tools_that_a_model_calls_at_once_run_one_by_one(
    chat: Chat, email_otp: EmailOtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two calls at once could both be the first of the turn."""
    inside, found = threading.Semaphore(1), []

    def find_alone(cognito_sub: str) -> None:
        if inside.acquire(blocking=False):
            time.sleep(0.05)
            inside.release()
            found.append(cognito_sub)

    monkeypatch.setattr(email_otp.guests, "find", find_alone)
    chat.say("Hi", [("get_guest_profile", {})] * 3, cognito_sub="sub-1")
    assert found == ["sub-1"] * 3


def test_of_many_typed_addresses_the_latest_count(chat: Chat) -> None:
    typed = [f"visitor{number}@example.com" for number in range(51)]
    outputs: list[dict[str, Any]] = []
    for address in (typed[0], typed[1], typed[-1]):
        outputs += chat.say(" ".join(typed) if not outputs else "Hm", initiate(address))
    assert [output["success"] for output in outputs] == [False, True, True]


def test_chat_may_try_three_addresses(chat: Chat) -> None:
    outputs = []
    for name in "abcd":
        outputs += chat.say(f"{name}@example.com", initiate(f"{name}@example.com"))
    assert [o["success"] for o in outputs] == [True, True, True, False]
    assert outputs[-1]["message"] == TOO_MANY_ADDRESSES
    assert outputs[-1]["error_code"] == "RATE_LIMITED"
    assert "retry_after_seconds" not in outputs[-1]  # one of the three works at once
    (again,) = chat.say("again", initiate("a@example.com"))
    assert again["success"] is True


@pytest.mark.parametrize("made_up", ["123456", "code-123456", "", "[code_reference: x]"])
def test_t19_made_up_code_burns_no_attempt(chat: Chat, cognito: FakeCognito, made_up: str) -> None:
    chat.say(f"I'm {ADA}", initiate())
    (output,) = chat.say("Hm", [("verify_cognito_otp", {"code_reference": made_up})])
    assert output == {
        "success": False,
        "error_code": "INVALID_OTP",
        "message": UNKNOWN_REFERENCE,
        "attempts_left": 3,
    }
    assert "AdminRespondToAuthChallenge" not in cognito.operations()


def test_t19_same_reference_counts_once_and_only_in_its_own_message(
    chat: Chat, cognito: FakeCognito
) -> None:
    chat.say(f"I'm {ADA}", initiate())
    outputs = chat.say("000000", verify, verify, verify)
    outputs += chat.say("Hm", verify)
    assert [o["attempts_left"] for o in outputs] == [2, 2, 2, 2]
    assert cognito.operations().count("AdminRespondToAuthChallenge") == 1


def test_code_of_the_pending_logins_length_is_answered(chat: Chat, cognito: FakeCognito) -> None:
    cognito.parameters = {"code_length": "8"}
    chat.say(f"I'm {ADA}", initiate())
    chat.say("12345678 12 May", verify)
    assert cognito.calls[-1][1]["ChallengeResponses"]["ANSWER"] == "12345678"


def test_t37_long_code_of_a_newer_mail_is_answered_and_the_model_sees_none_of_it(
    chat: Chat, cognito: FakeCognito
) -> None:
    """T37: as its mail writes it, in a chat that was begun with a shorter one."""
    chat.say(f"I'm {ADA}", initiate())
    chat.say("It's 4071 9336 0258 1147, in room 12", verify)
    assert cognito.calls[-1][1]["ChallengeResponses"]["ANSWER"] == "4071933602581147"
    typed = [m["content"][0].get("text") for m in chat.agent.messages if m["role"] == "user"]
    assert f"It's [code_reference: {reference_in(chat.agent.messages)}], in room ##" in typed


def test_turn_prints_without_session_id_owner_and_code(chat: Chat, email_otp: EmailOtp) -> None:
    chat.say(f"I'm {ADA}", initiate())
    turn = email_otp.turn(CHAT, "It is 123456", cognito_sub="sub-of-ada")
    printed = repr(turn) + repr(turn.invocation_state)
    assert "code_reference" in printed
    for kept in (repr(CHAT), "sub-of-ada", "123456"):
        assert kept not in printed


def test_t22_what_walks_a_turns_fields_finds_no_code_and_no_session(
    chat: Chat, cognito: FakeCognito, email_otp: EmailOtp
) -> None:
    """T22: as an exporter of traces may do with what is passed beside a prompt."""
    chat.say(f"I'm {ADA}", initiate())
    turn = email_otp.turn(CHAT, "It is 123456")
    walked = str(to_jsonable_python(turn.invocation_state, serialize_unknown=True))
    assert cognito.issued[-1] not in walked
    assert "123456" not in walked


def test_code_typed_beside_one_in_the_box_is_a_reference_too(
    chat: Chat, cognito: FakeCognito
) -> None:
    chat.say(f"I'm {ADA}", initiate())

    def first(messages: Messages) -> list[Call]:
        typed, _in_the_box = messages[-1]["content"][0]["text"].splitlines()
        return verify([{"role": "user", "content": [{"text": typed}]}])

    (output,) = chat.say("000000", first, code=cognito.mailed[-1][1])
    assert (output["error_code"], output["attempts_left"]) == ("INVALID_OTP", 2)


def test_two_codes_in_one_message_are_two_references(chat: Chat, cognito: FakeCognito) -> None:
    chat.say(f"I'm {ADA}", initiate())
    code = cognito.mailed[-1][1]

    def both(messages: Messages) -> list[Call]:
        text = messages[-1]["content"][0]["text"]
        found = [part.split("]")[0] for part in text.split("[code_reference: ")[1:]]
        return [("verify_cognito_otp", {"code_reference": reference}) for reference in found]

    outputs = chat.say(f"000000 or maybe {code}", both)
    # The calls run at once, so either may come first; the references are what is tested.
    assert sorted(o["success"] for o in outputs) == [False, True]


def test_t23_code_of_the_old_address_does_not_sign_in_the_new_one(
    chat: Chat, cognito: FakeCognito
) -> None:
    chat.say(f"I'm {ADA}", initiate())
    chat.say("Sorry, bob@example.com", initiate("bob@example.com"))
    old, new = cognito.mailed[-2][1], cognito.mailed[-1][1]
    if old != new:
        (output,) = chat.say(old, verify)
        assert (output["error_code"], output["attempts_left"]) == ("INVALID_OTP", 2)
    (tokens,) = chat.say(new, verify)
    assert tokens["email"] == "bob@example.com"


def test_code_without_a_login_says_so(chat: Chat) -> None:
    (output,) = chat.say("", verify, code="123456")
    assert output["error_code"] == "NO_LOGIN_PENDING"


def test_t22_code_typed_alone_reaches_no_model_though_no_login_is_pending(chat: Chat) -> None:
    """A restart forgets the pending login, not the mail."""
    for typed in ("123456", " 123-456. ", "\uff11\uff12\uff13\uff14\uff15\uff16", "12345 67890"):
        (output,) = chat.say(typed, verify)
        assert output["error_code"] == "NO_LOGIN_PENDING"
        assert typed not in chat.known_to_the_model()
    assert "123456" not in chat.known_to_the_model()


@pytest.mark.parametrize("typed", ["Room 1204 please", "12345", "12345678901"])
def test_other_digits_reach_the_model_while_no_login_is_pending(chat: Chat, typed: str) -> None:
    chat.say(typed, "fine")
    assert typed in chat.known_to_the_model()


def test_digits_of_someone_signed_in_reach_the_model(chat: Chat) -> None:
    chat.say("123456", "fine", cognito_sub="sub-1")
    assert "123456" in chat.known_to_the_model()


def test_t24_exception_in_a_tool_reaches_nobody(
    chat: Chat, cognito: FakeCognito, dynamodb: FakeDynamoDb, caplog: pytest.LogCaptureFixture
) -> None:
    cognito.fail["AdminInitiateAuth"] = RuntimeError("canary")
    dynamodb.fail = KeyError("canary")
    outputs = chat.say(f"I'm {ADA}", initiate())
    outputs += chat.say("profile", [("get_guest_profile", {})], cognito_sub="sub-1")
    assert [o["error_code"] for o in outputs] == ["AUTH_SERVICE_ERROR"] * 2
    assert "canary" not in chat.known_to_the_model() + str([vars(r) for r in caplog.records])
    assert [r.message for r in caplog.records].count("tool failed") == 2


def test_agent_run_without_a_turn_fails_closed(chat: Chat, cognito: FakeCognito) -> None:
    async def run() -> None:
        chat.model.steps = [initiate()]
        await chat.agent.invoke_async(f"I'm {ADA}")

    asyncio.run(run())
    assert "AUTH_SERVICE_ERROR" in chat.known_to_the_model()
    assert not cognito.calls


def test_t28_profile_is_that_of_the_verified_sub_alone(chat: Chat, guests: GuestStore) -> None:
    guests.record_login("sub-a", email=ADA, name="Ada")
    guests.record_login("sub-b", email="bob@example.com", name="Bob")
    asked: list[Call] = [("get_guest_profile", {"cognito_sub": "sub-b", "guest_id": "GST-1"})]
    (output,) = chat.say("I am sub-b, show me bob@example.com", asked, cognito_sub="sub-a")
    assert output["guest"]["email"] == ADA
    assert set(output["guest"]) == {"guest_id", "email", "name", "guest_since", "last_login_at"}
    assert "bob" not in json.dumps(output)


def test_profile_of_nobody_tells_that_nobody_is_signed_in(chat: Chat) -> None:
    (output,) = chat.say("My profile", [("get_guest_profile", {})])
    assert (output["success"], output["signed_in"]) == (True, False)


def test_profile_without_a_record(chat: Chat) -> None:
    (output,) = chat.say("My profile", [("get_guest_profile", {})], cognito_sub="sub-x")
    assert (output["signed_in"], output["guest"]) == (True, None)


def test_guest_that_cannot_be_stored_is_told_and_gets_no_tokens(
    chat: Chat, cognito: FakeCognito, dynamodb: FakeDynamoDb
) -> None:
    chat.say(f"I'm {ADA}", initiate())
    dynamodb.fail = aws_error("UpdateItem", "InternalServerError")
    (output,) = chat.say(cognito.mailed[-1][1], verify)
    assert output["error_code"] == "GUEST_CREATION_FAILED"
    assert cognito.revoked


def test_schemas_name_no_identity() -> None:
    shown = {
        tool.tool_name: set(tool.tool_spec["inputSchema"]["json"]["properties"])
        for tool in email_otp_tools()
    }
    assert shown == {
        "initiate_cognito_login": {"email", "name"},
        "verify_cognito_otp": {"code_reference"},
        "get_guest_profile": set(),
    }


@contextlib.contextmanager
def held(threads: Threads) -> Iterator[None]:
    """Keep one of the threads in a call."""
    began, release = threading.Event(), threading.Event()

    def hold() -> None:
        began.set()
        release.wait(20)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(lambda: asyncio.run(threads.run(hold)))
        assert began.wait(5)
        yield
        release.set()
        holding.result()


def test_t38_sign_in_that_finds_no_thread_is_told_when_to_try_again(
    chat: Chat, cognito: FakeCognito
) -> None:
    chat.email_otp.code_requests = Threads("test", 1, waiting=0)
    with held(chat.email_otp.code_requests):
        (told,) = chat.say(f"I'm {ADA}", initiate())
    assert told == {
        "success": False,
        "error_code": "RATE_LIMITED",
        "message": BUSY,
        "retry_after_seconds": 5,
    }
    assert not cognito.mailed
    (sent,) = chat.say(f"I'm {ADA}", initiate())
    assert sent["success"] is True


def test_t38_code_waits_for_no_flood_of_requests(chat: Chat, cognito: FakeCognito) -> None:
    chat.email_otp.code_requests = Threads("test", 1, waiting=0)
    chat.say(f"I'm {ADA}", initiate())
    with held(chat.email_otp.code_requests):
        (told,) = chat.say(f"It is {cognito.mailed[-1][1]}", verify)
    assert told["event_type"] == "auth_tokens"


def test_t38_flood_of_new_chats_wipes_no_address_that_was_typed(chat: Chat) -> None:
    chat.say(f"I'm {ADA}", initiate())
    for number in range(10_001):
        chat.email_otp.turn(f"flood-{number}", "Hi")
    (again,) = chat.say("It did not come", initiate())
    assert again["success"] is True


def test_t38_flood_for_one_address_takes_no_turn_of_another(
    chat: Chat, cognito: FakeCognito, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T38: neither by asking for its codes, nor by answering with wrong ones."""
    asked = []
    run = Threads.run

    async def recording(threads: Threads, call: Any, *, owner: str = "") -> Any:
        asked.append((threads, owner))
        return await run(threads, call, owner=owner)

    monkeypatch.setattr(Threads, "run", recording)
    chat.say("It is 123456", verify)
    chat.say(f"I'm {ADA}", initiate("Ada@Example.com"))
    chat.say(f"It is {cognito.mailed[-1][1]}", verify)
    otp = chat.email_otp
    assert asked == [(otp.code_answers, ""), (otp.code_requests, ADA), (otp.code_answers, ADA)]


def test_t38_each_tool_has_threads_of_its_own(
    chat: Chat, cognito: FakeCognito, dynamodb: FakeDynamoDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, str] = {}

    def named(owner: Any, method: str) -> None:
        call = getattr(owner, method)

        def wrapped(**arguments: Any) -> Any:
            names[method] = threading.current_thread().name.split("_")[0]
            return call(**arguments)

        monkeypatch.setattr(owner, method, wrapped)

    named(cognito, "admin_initiate_auth")
    named(cognito, "admin_respond_to_auth_challenge")
    chat.say(f"I'm {ADA}", initiate())
    chat.say("000000", verify)
    named(dynamodb, "get_item")
    chat.say("My profile", [("get_guest_profile", {})], cognito_sub="sub-1")
    assert list(names.values()) == ["request", "answer", "read"]


def test_t38_codes_at_once_wait_for_their_threads(email_otp: EmailOtp) -> None:
    release = threading.Event()

    async def run() -> list[Any]:
        calls = [
            asyncio.create_task(email_otp.code_answers.run(lambda: release.wait(5)))
            for _ in range(10)
        ]
        await asyncio.sleep(0.05)
        release.set()
        return await asyncio.gather(*calls)

    assert asyncio.run(run()) == [True] * 10


@pytest.mark.parametrize("throttled", [True, False])
def test_t38_flood_of_one_address_wipes_none_of_another(
    email_otp: EmailOtp, cognito: FakeCognito, monkeypatch: pytest.MonkeyPatch, *, throttled: bool
) -> None:
    """T38: nor does one that is refused."""
    monkeypatch.setattr("agent.sign_in.turns._CHATS_LIMIT", 3)
    email_otp = EmailOtp(email_otp.flow, email_otp.guests)
    chat = Chat(email_otp)
    chat.say(f"I'm {ADA}", initiate())
    if throttled:
        cognito.parameters = {"status": "throttled"}
    for number in range(5):
        address = f"mallory{number if throttled else ''}@example.com"
        Chat(email_otp, f"flood-{number}").say(f"I'm {address}", initiate(address))
    cognito.parameters = {}
    (again,) = chat.say("It did not come", initiate())
    assert again["success"] is True
