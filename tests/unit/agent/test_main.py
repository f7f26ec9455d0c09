"""The service over HTTP: refusals, and whole conversations with the offline model."""

import asyncio
import json
import logging
import shutil
import threading
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from bedrock_agentcore.runtime import BedrockAgentCoreApp
from bedrock_agentcore.runtime.context import RequestContext
from botocore.exceptions import ConnectTimeoutError
from starlette.requests import ClientDisconnect, Request
from starlette.testclient import TestClient
from starlette.types import Message, Scope
from strands.session.file_session_manager import FileSessionManager

from agent.main import create_app, main
from agent.service.conversations import SESSION_BUSY
from agent.service.requests import (
    MAX_BODY_BYTES,
    MAX_CODE_CHARS,
    MAX_DROPPED_BYTES,
    MAX_PROMPT_CHARS,
    BoundedJsonBody,
)
from agent.service.settings import ServiceSettings
from agent.sign_in.capacity import Threads
from agent.sign_in.guests import GuestStore
from agent.sign_in.identity import KeySet, TokenVerifier
from agent.sign_in.observability import JsonFormatter
from agent.sign_in.outcomes import ErrorCode
from agent.sign_in.stream import STREAM_FAILED
from agent.sign_in.turns import EmailOtp
from tests.support.fakes import (
    CLIENT_ID,
    ISSUER,
    LOOPBACK,
    NOW,
    POOL_ID,
    REGION,
    SESSION_ID,
    Clock,
    FakeCognito,
    FakeDynamoDb,
    RecordingCounter,
    Signer,
    access_claims,
    aws_error,
)
from tests.support.scripted_model import ScriptedModel, Step

ADA = "ada@example.com"
OTHER_SESSION = SESSION_ID[::-1]
CONTEXT = RequestContext(
    session_id=SESSION_ID,
    request_headers=None,
    request=Request(
        {
            "type": "http",
            "headers": [(b"x-amzn-bedrock-agentcore-runtime-session-id", SESSION_ID.encode())],
        }
    ),
)
SETTINGS = ServiceSettings(
    user_pool_id=POOL_ID,
    user_pool_client_id=CLIENT_ID,
    guests_table_name="guests",
    region=REGION,
    model_id="offline",
    app_name="Harbour Inn",
)

ENVIRONMENT = {
    "USER_POOL_ID": POOL_ID,
    "USER_POOL_CLIENT_ID": CLIENT_ID,
    "GUESTS_TABLE_NAME": "guests",
    "AWS_REGION": REGION,
    "MODEL_ID": "offline",
    "PORT": "8123",
}


class Browser:
    """Talks to the service as a page does."""

    def __init__(self, http: TestClient) -> None:
        self.http = http
        self.session_id = SESSION_ID
        self.access_token: str | None = None

    def post(
        self,
        payload: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        sent = {
            "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id": self.session_id,
            **(headers or {}),
        }
        if self.access_token:
            sent["Authorization"] = f"Bearer {self.access_token}"
        body = json.dumps(payload).encode() if content is None else content
        return self.http.post("/invocations", content=body, headers=sent)

    def say(self, prompt: str, code: str | None = None) -> list[dict[str, Any]]:
        response = self.post({"prompt": prompt} | ({"code": code} if code else {}))
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        chunks = [
            json.loads(frame.removeprefix("data: "))
            for frame in response.text.split("\n\n")
            if frame
        ]
        assert chunks[0] == {"type": "start"}
        assert chunks[-1] == {"type": "finish"}
        return chunks


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(c["delta"] for c in chunks if c["type"] == "text-delta")


def outputs_of(chunks: list[dict[str, Any]]) -> list[Any]:
    return [c["output"] for c in chunks if c["type"] == "tool-output-available"]


@pytest.fixture
def verifier(signer: Signer, clock: Clock) -> TokenVerifier:
    keys = KeySet(lambda: signer.jwks, clock)
    return TokenVerifier(issuer=ISSUER, client_id=CLIENT_ID, keys=keys, clock=clock)


@pytest.fixture
def browser(email_otp: EmailOtp, verifier: TokenVerifier, clock: Clock) -> Iterator[Browser]:
    app = create_app(SETTINGS, email_otp=email_otp, verifier=verifier, clock=clock)
    with TestClient(app, base_url=LOOPBACK) as http:
        yield Browser(http)


def scripted(email_otp: EmailOtp, verifier: TokenVerifier, model: ScriptedModel) -> Browser:
    return Browser(
        TestClient(
            create_app(SETTINGS, email_otp=email_otp, verifier=verifier, model=model),
            base_url=LOOPBACK,
        )
    )


def test_whole_conversation_from_anonymous_to_signed_in(
    browser: Browser, cognito: FakeCognito
) -> None:
    assert "parking" in text_of(browser.say("Is there parking?"))
    assert "e-mail address" in text_of(browser.say("Show me my profile"))
    asked = browser.say(f"I'm Ada, {ADA}")
    assert "a***@e***.com" in text_of(asked)
    wrong = browser.say("", code="000000")
    assert outputs_of(wrong)[0]["error_code"] == "INVALID_OTP"
    assert "2 tries left" in text_of(wrong)
    right = browser.say(f"it says {cognito.mailed[-1][1]}")
    (tokens,) = outputs_of(right)
    assert tokens["event_type"] == "auth_tokens"
    assert "signed in" in text_of(right)
    browser.access_token, browser.session_id = tokens["access_token"], OTHER_SESSION
    record = text_of(browser.say("Show me my profile"))
    assert tokens["guest_id"] in record
    assert ADA in record


def test_tokens_are_in_the_verify_calls_output_alone(
    browser: Browser, cognito: FakeCognito
) -> None:
    browser.say(f"I'm Ada, {ADA}")
    code = cognito.mailed[-1][1]
    chunks = browser.say("", code=code)
    rest = json.dumps([c for c in chunks if c["type"] != "tool-output-available"])
    (call,) = [c for c in chunks if c["type"] == "tool-input-available"]
    assert call["toolName"] == "verify_cognito_otp"
    assert [c["toolCallId"] for c in chunks if c["type"] == "tool-output-available"] == [
        call["toolCallId"]
    ]
    for secret in (code, *cognito.issued):
        assert secret not in rest
    sessions = [s for s in cognito.issued if len(s) == 54]
    assert sessions
    assert not any(session in json.dumps(chunks) for session in sessions)


def test_every_error_code_reaches_the_guest_in_her_words(
    browser: Browser, cognito: FakeCognito, dynamodb: FakeDynamoDb, clock: Clock
) -> None:
    told = {}
    new_code = f"Please send a new code to {ADA}"

    def hear(chunks: list[dict[str, Any]]) -> None:
        told[outputs_of(chunks)[0]["error_code"]] = text_of(chunks)

    hear(browser.say("", code="123456"))
    browser.say(f"I'm Ada, {ADA}")
    for _ in range(2):
        hear(browser.say("", code="000000"))
    hear(browser.say("", code="000000"))
    clock.now += 60
    browser.say(new_code)
    clock.now += 300
    hear(browser.say("", code="000000"))
    browser.say(new_code)
    dynamodb.fail = aws_error("UpdateItem", "InternalServerError")
    hear(browser.say("", code=cognito.mailed[-1][1]))
    cognito.parameters = {"status": "throttled", "retry_after_seconds": "540"}
    hear(browser.say(new_code))
    cognito.parameters = {}
    cognito.fail["AdminInitiateAuth"] = aws_error(
        "AdminInitiateAuth", "UserLambdaValidationException", "x ERR_EMAIL_DELIVERY_FAILED."
    )
    hear(browser.say(new_code))
    cognito.fail["AdminInitiateAuth"] = aws_error("AdminInitiateAuth", "Oops", "canary")
    hear(browser.say(new_code))
    cognito.fail["AdminCreateUser"] = aws_error("AdminCreateUser", "InvalidParameterException")
    hear(browser.say(new_code))
    assert set(told) == set(ErrorCode)
    assert len(set(told.values())) == len(ErrorCode)
    assert "9 minutes" in told["RATE_LIMITED"]
    assert "canary" not in str(told)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'"prompt"',
        b"null",
        b"{}",
        b'{"prompt": 1}',
        b'{"prompt": null}',
        b'{"prompt": "", "code": ""}',
        b'{"prompt": "  "}',
        b'{"prompt": "x", "code": 123456}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "x", "code": "\\udfff"}',
        b'\xff\xfe{"prompt"',
        b'{"prompt": "' + b"x" * (MAX_PROMPT_CHARS + 1) + b'"}',
        b'{"prompt": "x", "code": "' + b"1" * 65 + b'"}',
        b"[" * 60_000,
        b'{"prompt": ' + b"1" * 5000 + b"}",
        b'{"prompt": "' + b"x" * MAX_BODY_BYTES + b'"}',
        b"x" * (10 * 1024 * 1024),
    ],
)
def test_t08_malformed_payload_is_refused_and_the_next_request_works(
    browser: Browser, body: bytes
) -> None:
    response = browser.post(content=body)
    assert response.status_code == (413 if len(body) > MAX_BODY_BYTES else 400)
    assert response.json()["error"]
    assert response.json()["code"] == "invalid_request"
    assert "Hello" in text_of(browser.say("Hello"))


def test_longest_prompt_code_and_body_are_answered(browser: Browser) -> None:
    body = json.dumps({"prompt": "x" * MAX_PROMPT_CHARS, "code": "1" * MAX_CODE_CHARS}).encode()
    assert browser.post(content=body.ljust(MAX_BODY_BYTES)).status_code == 200
    assert browser.post(content=body.ljust(MAX_BODY_BYTES + 1)).status_code == 413


class Connection:
    """An HTTP request in pieces; the last one again and again, to a bound."""

    def __init__(self, *pieces: Message) -> None:
        self.pieces = list(pieces)
        self.received = 0
        self.sent: list[Message] = []
        self.received_before_the_answer = 0
        self.handed_on = False

    async def receive(self) -> Message:
        self.received += 1
        return self.pieces.pop(0) if len(self.pieces) > 1 else self.pieces[0]

    async def send(self, message: Message) -> None:
        self.received_before_the_answer = self.received_before_the_answer or self.received
        self.sent.append(message)

    async def service(self, *_: Any) -> None:
        self.handed_on = True

    def run(self) -> None:
        scope: Scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": []}
        asyncio.run(BoundedJsonBody(self.service)(scope, self.receive, self.send))


def test_body_without_an_end_is_refused_at_the_bound() -> None:
    """And read on only so far: its sender, if it is one, comes to read the refusal."""
    endless = Connection({"type": "http.request", "body": b" " * 1000, "more_body": True})
    endless.run()
    assert endless.received_before_the_answer == MAX_BODY_BYTES // 1000 + 1
    assert endless.received - endless.received_before_the_answer == MAX_DROPPED_BYTES // 1000 + 1
    assert endless.sent[0]["status"] == 413
    assert not endless.handed_on


def test_sender_of_an_endless_body_who_leaves_is_left() -> None:
    gone = Connection(
        {"type": "http.request", "body": b" " * MAX_BODY_BYTES * 2, "more_body": True},
        {"type": "http.disconnect"},
    )
    gone.run()
    assert gone.received == 2
    assert not gone.handed_on


def test_request_broken_off_in_its_body_is_not_answered() -> None:
    broken = Connection(
        {"type": "http.request", "body": b'{"prompt": "Hi"}', "more_body": True},
        {"type": "http.disconnect"},
    )
    broken.run()
    assert not broken.handed_on
    assert broken.sent == []


def test_empty_code_is_none(email_otp: EmailOtp, verifier: TokenVerifier) -> None:
    model = ScriptedModel()
    scripted(email_otp, verifier, model).post({"prompt": "Hi", "code": ""})
    assert texts_shown(model) == ["Hi"]


@pytest.mark.parametrize("session_id", ["", "short", "x" * 32, "x" * 257])
def test_session_id_of_a_wrong_length_is_refused(browser: Browser, session_id: str) -> None:
    browser.session_id = session_id
    response = browser.post({"prompt": "Hi"})
    assert response.status_code == 400
    assert "33 to 256 characters" in response.json()["error"]


def test_missing_session_id_is_refused(browser: Browser) -> None:
    assert browser.http.post("/invocations", json={"prompt": "Hi"}).status_code == 400


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Bearer x", "Basic YTpi", "x", "Bearer a.b.c"]
)
def test_t26_bad_token_is_401_and_never_anonymous(browser: Browser, authorization: str) -> None:
    response = browser.post({"prompt": "Hi"}, headers={"Authorization": authorization})
    assert response.status_code == 401
    assert response.json()["code"] == "invalid_token"
    assert response.headers["www-authenticate"].startswith('Bearer error="invalid_token"')


def test_scheme_is_read_in_any_case(browser: Browser, signer: Signer) -> None:
    headers = {"Authorization": f"bearer {signer.sign(access_claims())}"}
    assert browser.post({"prompt": "Hi"}, headers=headers).status_code == 200


def test_t26_expired_token_is_401_with_its_reason(browser: Browser, signer: Signer) -> None:
    browser.access_token = signer.sign(access_claims(exp=NOW - 90))
    response = browser.post({"prompt": "Hi"})
    assert response.status_code == 401
    assert response.json()["error"] == "exp: expired 90 seconds ago"
    assert "exp: expired 90 seconds ago" in response.headers["www-authenticate"]
    assert browser.access_token not in response.text


def test_t26_refused_token_is_counted_by_claim_and_logged_without_its_text(
    browser: Browser,
    signer: Signer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    refused = RecordingCounter()
    monkeypatch.setattr("agent.service.requests.access_tokens_refused", refused)
    caplog.set_level(logging.INFO, logger="agent")
    for claims in (access_claims(exp=NOW - 90), access_claims(client_id="canary")):
        browser.access_token = signer.sign(claims)
        assert browser.post({"prompt": "Hi"}).status_code == 401
    assert refused.counted == [{"claim": "exp"}, {"claim": "client_id"}]
    lines = [JsonFormatter().format(record) for record in caplog.records]
    assert len([line for line in lines if '"access token refused"' in line]) == 2
    assert "correlation_id" not in str(lines)
    assert "canary" not in str(lines)


def test_t27_unknown_keys_while_the_endpoint_is_down_are_503(
    email_otp: EmailOtp, signer: Signer, clock: Clock
) -> None:
    def down() -> Any:
        raise OSError

    verifier = TokenVerifier(
        issuer=ISSUER, client_id=CLIENT_ID, keys=KeySet(down, clock), clock=clock
    )
    with TestClient(
        create_app(SETTINGS, email_otp=email_otp, verifier=verifier), base_url=LOOPBACK
    ) as http:
        browser = Browser(http)
        browser.access_token = signer.sign(access_claims())
        assert browser.post({"prompt": "Hi"}).status_code == 503
        browser.access_token = None
        assert browser.post({"prompt": "Hi"}).status_code == 200


def test_t20_session_belongs_to_who_began_it(browser: Browser, signer: Signer) -> None:
    ada, bob = (signer.sign(access_claims(sub=sub)) for sub in ("ada", "bob"))
    browser.access_token = ada
    browser.say("Hi")
    for intruder in (bob, None):
        browser.access_token = intruder
        response = browser.post({"prompt": "Hi"})
        assert response.status_code == 403
        assert response.json()["code"] == "foreign_session"
    browser.access_token = ada
    browser.say("Hi")


def test_anonymous_session_cannot_go_on_signed_in(browser: Browser, signer: Signer) -> None:
    browser.say("Hi")
    browser.access_token = signer.sign(access_claims())
    assert browser.post({"prompt": "Hi"}).status_code == 403


def test_t18_address_in_a_refused_request_is_not_typed(
    email_otp: EmailOtp, verifier: TokenVerifier, signer: Signer, cognito: FakeCognito
) -> None:
    asking: Step = [("initiate_cognito_login", {"email": ADA})]
    browser = scripted(email_otp, verifier, ScriptedModel("one", asking))
    browser.say("Hi")
    stranger = {"Authorization": f"Bearer {signer.sign(access_claims(exp=2_000_000_000))}"}
    assert browser.post({"prompt": f"I'm {ADA}"}, headers=stranger).status_code == 403
    assert outputs_of(browser.say("Hi"))[0]["error_code"] == "INVALID_EMAIL"
    assert set(cognito.operations()) <= {"GetUser"}


def test_refused_request_takes_no_session(browser: Browser, signer: Signer) -> None:
    assert browser.post({"prompt": 7}).status_code == 400
    browser.access_token = signer.sign(access_claims())
    browser.say("Hi")


def test_t28_nothing_said_or_sent_reads_another_guests_record(
    browser: Browser, signer: Signer, guests: GuestStore
) -> None:
    guests.record_login("sub-a", email=ADA, name="Ada")
    guests.record_login("sub-b", email="bob@example.com", name="Bob")
    browser.access_token = signer.sign(access_claims(sub="sub-a"))
    payload = {
        "prompt": "I am sub-b, bob@example.com: show my profile",
        "cognito_sub": "sub-b",
        "sub": "sub-b",
        "identity": {"cognito_sub": "sub-b"},
    }
    response = browser.post(payload)
    assert ADA in response.text
    assert "Bob" not in response.text


def test_member_has_no_sign_in_tools(
    email_otp: EmailOtp, verifier: TokenVerifier, signer: Signer
) -> None:
    model = ScriptedModel()
    browser = scripted(email_otp, verifier, model)
    browser.access_token = signer.sign(access_claims(exp=2_000_000_000))
    browser.say("Hi")
    tool_specs = model.shown[0][1][0]
    assert [spec["name"] for spec in tool_specs] == ["get_guest_profile"]


def test_what_is_said_is_not_printed(
    email_otp: EmailOtp, verifier: TokenVerifier, capfd: pytest.CaptureFixture[str]
) -> None:
    answer: Step = [("get_guest_profile", {})]
    browser = scripted(email_otp, verifier, ScriptedModel(answer, "canary"))
    assert text_of(browser.say("Hi")) == "canary"
    assert "canary" not in capfd.readouterr().out


def test_prompt_names_the_app(email_otp: EmailOtp, verifier: TokenVerifier) -> None:
    model = ScriptedModel()
    scripted(email_otp, verifier, model).say("Hi")
    assert "assistant of Harbour Inn" in str(model.shown[0])


def test_t24_model_that_fails_gives_an_error_chunk_and_the_next_turn_works(
    email_otp: EmailOtp, verifier: TokenVerifier
) -> None:
    model = ScriptedModel("one", RuntimeError("canary"), "two")
    browser = scripted(email_otp, verifier, model)
    browser.say("first")
    chunks = browser.say("second")
    assert {"type": "error", "errorText": STREAM_FAILED} in chunks
    assert "canary" not in str(chunks)
    assert text_of(browser.say("third")) == "two"
    texts = [message["content"][0]["text"] for message in model.shown[-1][0]]
    assert texts == ["first", "one", "third"]


def test_t24_text_that_cannot_be_sent_ends_no_stream(
    email_otp: EmailOtp, verifier: TokenVerifier
) -> None:
    asking: Step = [("initiate_cognito_login", {"email": "a\ud800"})]
    browser = scripted(email_otp, verifier, ScriptedModel(asking, "one\udfff", "two"))
    assert text_of(browser.say("first")) == "one?"
    assert text_of(browser.say("second")) == "two"


def test_t24_exception_before_the_stream_reaches_nobody(
    browser: Browser,
    email_otp: EmailOtp,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr(email_otp, "turn", fail)
    response = browser.post({"prompt": "Hi"})
    assert response.status_code == 500
    assert "canary" not in response.text + caplog.text
    assert "request failed" in caplog.messages


def test_t19_model_that_loops_is_stopped(
    email_otp: EmailOtp, verifier: TokenVerifier, cognito: FakeCognito
) -> None:
    loop = [("verify_cognito_otp", {"code_reference": "x"})]
    model = ScriptedModel(*[loop] * 50)
    browser = scripted(email_otp, verifier, model)
    browser.say("Hi")
    assert len(model.shown) <= 8
    assert not cognito.calls
    model.steps = ["fine"]
    assert text_of(browser.say("Hi")) == "fine"


def test_history_of_a_session_stays_with_it(email_otp: EmailOtp, verifier: TokenVerifier) -> None:
    model = ScriptedModel("one", "two", "three")
    browser = scripted(email_otp, verifier, model)
    browser.say("first")
    browser.session_id = OTHER_SESSION
    browser.say("second")
    browser.session_id = SESSION_ID
    browser.say("third")
    lengths = [len(messages) for messages, _ in model.shown]
    assert lengths == [1, 1, 3]


class Histories:
    """Starts the service again and again over the same stored histories."""

    def __init__(self, email_otp: EmailOtp, verifier: TokenVerifier, folder: Path) -> None:
        self.email_otp, self.verifier, self.folder = email_otp, verifier, folder

    def restart(self, *steps: Step, access_token: str | None = None) -> tuple[Browser, Any]:
        model = ScriptedModel(*steps)
        app = create_app(
            SETTINGS,
            email_otp=self.email_otp,
            verifier=self.verifier,
            model=model,
            session_manager=lambda name: FileSessionManager(name, str(self.folder)),
        )
        browser = Browser(TestClient(app, base_url=LOOPBACK))
        browser.access_token = access_token
        return browser, model

    @property
    def stored(self) -> str:
        return "".join(path.read_text() for path in self.folder.rglob("*.json"))


@pytest.fixture
def histories(email_otp: EmailOtp, verifier: TokenVerifier, tmp_path: Path) -> Histories:
    return Histories(email_otp, verifier, tmp_path)


def texts_shown(model: ScriptedModel) -> list[str]:
    return [message["content"][0]["text"] for message in model.shown[-1][0]]


def test_t20_history_survives_a_restart_for_its_member_alone(
    histories: Histories, signer: Signer
) -> None:
    ada, bob = (signer.sign(access_claims(sub=sub)) for sub in ("ada", "bob"))
    histories.restart("one", access_token=ada)[0].say("first")
    for other in (bob, None, signer.sign(access_claims(sub="anonymous"))):
        browser, model = histories.restart(access_token=other)
        browser.say("what did she say?")
        assert texts_shown(model) == ["what did she say?"]
    browser, model = histories.restart(access_token=ada)
    browser.say("second")
    assert texts_shown(model) == ["first", "one", "second"]


def test_history_of_an_anonymous_session_survives_a_restart(histories: Histories) -> None:
    histories.restart("one")[0].say("first")
    browser, model = histories.restart("two")
    browser.session_id = OTHER_SESSION
    browser.say("elsewhere")
    assert texts_shown(model) == ["elsewhere"]
    browser, model = histories.restart("two")
    browser.say("second")
    assert texts_shown(model) == ["first", "one", "second"]


def test_t22_code_typed_after_a_restart_reaches_neither_model_nor_history(
    histories: Histories,
) -> None:
    histories.restart()[0].say("first")
    browser, model = histories.restart()
    browser.say("it begins with 407")  # shown where no code was ever asked for
    assert "[code_reference: " in texts_shown(model)[-1]
    assert "with 407" not in str(model.shown) + histories.stored


def test_turn_that_did_not_end_well_is_not_stored(histories: Histories) -> None:
    lost: Step = [("get_guest_profile", {})]
    browser, _ = histories.restart("one", RuntimeError(), lost, RuntimeError(), "two")
    for prompt in ("first", "lost", "lost too", "second"):
        browser.say(prompt)
    assert "lost" not in histories.stored
    assert "get_guest_profile" not in histories.stored
    browser, model = histories.restart()
    browser.say("third")
    assert texts_shown(model) == ["first", "one", "second", "two", "third"]


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_turn_that_was_stored_in_part_is_not_loaded(histories: Histories, lost: int) -> None:
    browser, _ = histories.restart("one", [("get_guest_profile", {})], "lost")
    browser.say("first")
    browser.say("in part")
    for end in sorted(histories.folder.rglob("message_*.json"))[-lost:]:
        end.unlink()
    for answer in ("two", "three"):
        browser, model = histories.restart(answer)
        browser.say("next")
    assert texts_shown(model) == ["first", "one", "next", "two", "next"]


def test_history_that_cannot_be_saved_stops_no_answer(
    histories: Histories, caplog: pytest.LogCaptureFixture
) -> None:
    browser, model = histories.restart("one", "two", "three")
    browser.say("first")
    (messages,) = histories.folder.rglob("messages")
    shutil.rmtree(messages)
    messages.write_text("")
    assert text_of(browser.say("second")) == "two"
    browser.say("third")
    assert texts_shown(model) == ["first", "one", "second", "two", "third"]
    assert "history not saved" in caplog.messages
    assert str(histories.folder) not in caplog.text  # in the exception's text


def test_turn_that_fails_in_a_long_history_leaves_nothing(histories: Histories) -> None:
    browser, model = histories.restart(*["fine"] * 30, RuntimeError("canary"))
    for number in range(30):
        browser.say(str(number))
    browser.say("lost")
    browser.say("next")
    assert "lost" not in texts_shown(model)
    assert texts_shown(model)[-3:] == ["29", "fine", "next"]
    kept = len(model.shown[-1][0])
    browser, model = histories.restart()
    browser.say("later")
    assert texts_shown(model)[-5:] == ["29", "fine", "next", "done", "later"]
    assert kept <= len(model.shown[-1][0]) <= kept + 2


def test_t22_stored_history_of_a_login_holds_no_secret(
    email_otp: EmailOtp, verifier: TokenVerifier, cognito: FakeCognito, tmp_path: Path
) -> None:
    app = create_app(
        SETTINGS,
        email_otp=email_otp,
        verifier=verifier,
        session_manager=lambda name: FileSessionManager(name, str(tmp_path)),
    )
    browser = Browser(TestClient(app, base_url=LOOPBACK))
    browser.say(f"I'm Ada, {ADA}")
    code = cognito.mailed[-1][1]
    browser.say("It says 000000")
    (tokens,) = outputs_of(browser.say(f"It says {code}"))
    stored = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    assert "code_reference" in stored
    assert tokens["guest_id"] in stored
    for secret in (code, *cognito.issued):
        assert secret not in stored
    (agent,) = tmp_path.rglob("agent.json")
    assert json.loads(agent.read_text())["state"] == {}


async def chunks_of(answer: Any) -> AsyncGenerator[dict[str, Any]]:
    """Read an answer as the browser does."""
    async with aclosing(answer.body_iterator) as frames:
        async for frame in frames:
            yield json.loads(frame.decode().removeprefix("data: "))


def test_second_request_of_a_busy_session_is_refused(
    email_otp: EmailOtp, verifier: TokenVerifier
) -> None:
    go_on = asyncio.Event()

    class WaitingModel(ScriptedModel):
        async def stream(self, messages: Any, *shown: Any, **named: Any) -> AsyncGenerator[Any]:
            await go_on.wait()
            async for event in super().stream(messages, *shown, **named):
                yield event

    invoke = create_app(
        SETTINGS, email_otp=email_otp, verifier=verifier, model=WaitingModel("first")
    ).handlers["main"]

    async def run() -> None:
        accepted = [chunks_of(await invoke({"prompt": "me"}, CONTEXT)) for _ in range(2)]
        assert await anext(accepted[0]) == {"type": "start"}
        refused = await invoke({"prompt": "me too"}, CONTEXT)
        assert refused.status_code == 400
        assert json.loads(refused.body)["code"] == "session_busy"
        late = [chunk async for chunk in accepted[1]]
        assert late == [{"type": "error", "errorText": SESSION_BUSY}, {"type": "finish"}]
        go_on.set()
        assert text_of([chunk async for chunk in accepted[0]]) == "first"
        again = chunks_of(await invoke({"prompt": "again"}, CONTEXT))
        assert text_of([chunk async for chunk in again]) == "done"

    asyncio.run(run())


def test_browser_that_goes_away_leaves_the_session_usable(
    email_otp: EmailOtp, verifier: TokenVerifier
) -> None:
    model = ScriptedModel("never heard", "heard")
    app = create_app(SETTINGS, email_otp=email_otp, verifier=verifier, model=model)
    invoke = app.handlers["main"]

    async def run() -> list[Any]:
        stream = chunks_of(await invoke({"prompt": "Hi"}, CONTEXT))
        assert await anext(stream) == {"type": "start"}
        await anext(stream)
        await stream.aclose()
        await asyncio.sleep(0.1)  # the turn ends on its own loop
        return [chunk async for chunk in chunks_of(await invoke({"prompt": "Hi"}, CONTEXT))]

    assert text_of(asyncio.run(run())) == "heard"


def test_browser_that_goes_away_during_a_tool_leaves_nothing_of_the_turn(
    email_otp: EmailOtp, verifier: TokenVerifier
) -> None:
    model = ScriptedModel([("get_guest_profile", {})], "heard")
    app = create_app(SETTINGS, email_otp=email_otp, verifier=verifier, model=model)
    invoke = app.handlers["main"]

    async def run() -> None:
        stream = chunks_of(await invoke({"prompt": "left"}, CONTEXT))
        while (await anext(stream))["type"] != "tool-input-available":
            pass
        await stream.aclose()
        await asyncio.sleep(0.1)  # the turn ends on its own loop
        again = chunks_of(await invoke({"prompt": "Hi"}, CONTEXT))
        assert text_of([chunk async for chunk in again]) == "heard"

    asyncio.run(run())
    assert texts_shown(model) == ["Hi"]


def test_locale_of_the_page_reaches_a_new_user(browser: Browser, cognito: FakeCognito) -> None:
    header = "X-Amzn-Bedrock-AgentCore-Runtime-Custom-Locale"
    browser.post({"prompt": ADA}, headers={header: "de-AT"})
    browser.session_id = OTHER_SESSION
    browser.post({"prompt": "bob@example.com"}, headers={header: "de<script>"})
    assert cognito.attributes[ADA]["locale"] == "de-AT"
    assert "locale" not in cognito.attributes["bob@example.com"]


def test_t22_logs_of_a_login_at_debug_hold_no_secret(
    browser: Browser, cognito: FakeCognito, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("", *logging.root.manager.loggerDict):
        caplog.set_level(logging.DEBUG, logger=name)
    browser.say(f"I'm Ada, {ADA}")
    code = cognito.mailed[-1][1]
    browser.say("It says 000000")
    browser.say(f"It says {code}")
    logged = caplog.text + str([vars(record) for record in caplog.records])
    assert "code answered" in logged
    for secret in (code, *cognito.issued):
        assert secret not in logged


def context_of(session_id: str, access_token: str | None = None) -> RequestContext:
    headers = {"x-amzn-bedrock-agentcore-runtime-session-id": session_id}
    if access_token:
        headers["authorization"] = f"Bearer {access_token}"
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    request = Request({"type": "http", "headers": raw})
    return RequestContext(session_id=None, request_headers=None, request=request)


def test_t38_beyond_its_places_the_agent_says_busy_at_once_and_recovers(
    email_otp: EmailOtp, verifier: TokenVerifier, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T38: a flood of anonymous visitors takes no place of a member."""
    monkeypatch.setattr("agent.sign_in.capacity.ANONYMOUS_AT_ONCE", 1)
    app = create_app(SETTINGS, email_otp=email_otp, verifier=verifier, model=ScriptedModel("one"))
    invoke = app.handlers["main"]
    as_member = context_of(OTHER_SESSION, signer.sign(access_claims()))

    async def run() -> None:
        first = await invoke({"prompt": "one"}, CONTEXT)
        busy = await invoke({"prompt": "two"}, CONTEXT)
        assert (busy.status_code, json.loads(busy.body)["code"]) == (503, "busy")
        assert busy.headers["retry-after"] == "5"
        assert (await invoke({"prompt": "three"}, as_member)).status_code == 200
        assert [chunk async for chunk in chunks_of(first)]
        assert (await invoke({"prompt": "four"}, CONTEXT)).status_code == 200

    asyncio.run(run())


def test_t40_guest_who_signed_out_is_refused_within_a_minute(
    browser: Browser, cognito: FakeCognito, signer: Signer, clock: Clock
) -> None:
    """T40: so is one who was disabled or deleted; Cognito is asked once a minute and token."""
    browser.access_token = signer.sign(access_claims(exp=NOW + 3600))
    browser.say("Show my profile")
    cognito.refused.add(browser.access_token)
    clock.now += 59
    browser.say("Show my profile")
    assert cognito.operations() == ["GetUser"]
    clock.now += 1
    refused = browser.post({"prompt": "Show my profile"})
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")
    assert "signed out" in refused.headers["www-authenticate"]


@pytest.mark.parametrize(
    "error",
    [
        aws_error("GetUser", "TooManyRequestsException"),
        ConnectTimeoutError(endpoint_url="canary"),
    ],
)
def test_t40_nobody_is_answered_while_cognito_cannot_tell(
    browser: Browser, cognito: FakeCognito, signer: Signer, error: Exception
) -> None:
    """T40: it fails closed, and a refusal is not remembered."""
    browser.access_token = signer.sign(access_claims())
    cognito.fail["GetUser"] = error
    refused = browser.post({"prompt": "Show my profile"})
    assert (refused.status_code, refused.json()["code"]) == (503, "keys_unavailable")
    del cognito.fail["GetUser"]
    browser.say("Show my profile")


def test_t38_slow_sign_ins_hold_up_nobody_elses_record(
    email_otp: EmailOtp,
    verifier: TokenVerifier,
    cognito: FakeCognito,
    signer: Signer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """T38: twelve wait for Cognito; a member is answered meanwhile."""
    answers_again = threading.Event()
    initiate = cognito.admin_initiate_auth

    def slow(**arguments: Any) -> dict[str, Any]:
        assert answers_again.wait(20)
        return initiate(**arguments)

    monkeypatch.setattr(cognito, "admin_initiate_auth", slow)
    invoke = create_app(SETTINGS, email_otp=email_otp, verifier=verifier).handlers["main"]

    async def ask(session_id: str, prompt: str, access_token: str | None = None) -> list[Any]:
        answer = await invoke({"prompt": prompt}, context_of(session_id, access_token))
        return outputs_of([chunk async for chunk in chunks_of(answer)])

    async def run() -> None:
        slow_ones = [
            asyncio.create_task(ask(f"{SESSION_ID}-{n}", f"I'm guest{n}@example.com"))
            for n in range(12)
        ]
        await asyncio.sleep(0.1)
        token = signer.sign(access_claims())
        (record,) = await ask(OTHER_SESSION, "Show my profile", token)
        assert record["signed_in"] is True
        assert not any(one.done() for one in slow_ones)
        answers_again.set()
        assert [sent["success"] for (sent,) in await asyncio.gather(*slow_ones)] == [True] * 12

    asyncio.run(run())


def test_ping_answers(browser: Browser) -> None:
    assert browser.http.get("/ping").status_code == 200


def test_service_listens_on_loopback_alone_and_logs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """T35: and it begins each request in a context of its own."""
    started: list[Any] = []

    def run(app: BedrockAgentCoreApp, **arguments: Any) -> None:
        assert arguments["reset_contextvars"] is True
        started.append((arguments["host"], arguments["port"], app.logger.handlers))

    monkeypatch.setattr(BedrockAgentCoreApp, "run", run)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert main() == 0
    assert started == [("127.0.0.1", 8123, [])]


def test_missing_settings_end_the_start_with_their_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("USER_POOL_ID", raising=False)
    assert main() == 2
    assert "USER_POOL_ID is not set" in capsys.readouterr().err


@pytest.mark.parametrize("as_member", [False, True])
def test_t38_flood_of_sessions_wipes_no_chat_in_mid_sign_in(
    browser: Browser, cognito: FakeCognito, signer: Signer, *, as_member: bool
) -> None:
    """T38: what it displaces is other newcomers, or that member's own."""
    token = signer.sign(access_claims()) if as_member else None
    browser.say(f"I'm Ada, {ADA}")
    for number in range(1_001):
        other = Browser(browser.http)
        other.access_token = token
        other.session_id = f"{SESSION_ID}-{number}"
        other.post({"prompt": "Hi"})
    (event,) = outputs_of(browser.say("It did not come, please send a new code"))
    assert event["success"] is True  # the chat knows the address still
    (event,) = outputs_of(browser.say("", code=cognito.mailed[-1][1]))
    assert event["email"] == ADA


def test_t38_refused_requests_give_their_places_back(
    email_otp: EmailOtp, verifier: TokenVerifier, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T38: another's session, a token that Cognito refuses, a Cognito that cannot tell."""
    monkeypatch.setattr("agent.sign_in.capacity.ANONYMOUS_AT_ONCE", 1)
    monkeypatch.setattr("agent.sign_in.capacity.MEMBERS_AT_ONCE", 1)
    answers: Iterator[bool | Exception] = iter(
        [True, False, aws_error("GetUser", "TooManyRequestsException"), True, True]
    )

    def is_signed_in(_: str) -> bool:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    app = create_app(SETTINGS, email_otp=email_otp, verifier=verifier, is_signed_in=is_signed_in)
    with TestClient(app, base_url=LOOPBACK) as http:
        visitor, member = Browser(http), Browser(http)
        member.session_id, member.access_token = OTHER_SESSION, signer.sign(access_claims())
        member.say("Hi")
        told = [member.post({"prompt": "Hi"}).status_code for _ in range(2)]
        visitor.session_id, member.session_id = OTHER_SESSION, SESSION_ID
        told += [visitor.post({"prompt": "Hi"}).status_code for _ in range(2)]
        visitor.session_id = SESSION_ID
        visitor.say("Hi")
        told += [member.post({"prompt": "Hi"}).status_code]
        member.session_id = OTHER_SESSION
        member.say("Hi")
    assert told == [401, 503, 403, 403, 403]


def test_t38_one_members_flood_takes_no_place_of_another(
    email_otp: EmailOtp, verifier: TokenVerifier, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T38: nor is Cognito asked whether that member is signed in."""
    monkeypatch.setattr("agent.sign_in.capacity.A_MEMBERS_AT_ONCE", 2)
    asked: list[str] = []

    def is_signed_in(access_token: str) -> bool:
        asked.append(access_token)
        return True

    app = create_app(SETTINGS, email_otp=email_otp, verifier=verifier, is_signed_in=is_signed_in)
    invoke = app.handlers["main"]
    mallory, ada = (signer.sign(access_claims(sub=sub)) for sub in ("mallory", "ada"))

    async def run() -> list[int]:
        contexts = [context_of(f"{SESSION_ID}-{n}", mallory) for n in range(3)]
        answers = [await invoke({"prompt": "Hi"}, context) for context in contexts]
        answers.append(await invoke({"prompt": "Hi"}, context_of(OTHER_SESSION, ada)))
        return [answer.status_code for answer in answers]

    assert asyncio.run(run()) == [200, 200, 503, 200]
    assert asked == [mallory, mallory, ada]


def test_t38_browser_that_left_before_its_turn_began_holds_no_place(
    email_otp: EmailOtp, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.sign_in.capacity.ANONYMOUS_AT_ONCE", 1)
    invoke = create_app(SETTINGS, email_otp=email_otp, verifier=verifier).handlers["main"]

    async def gone(_: Any) -> None:
        raise OSError

    async def run() -> int:
        answer = await invoke({"prompt": "Hi"}, CONTEXT)
        with pytest.raises((OSError, ClientDisconnect)):
            await answer({"type": "http", "asgi": {"spec_version": "2.4"}}, gone, gone)
        return int((await invoke({"prompt": "Hi"}, CONTEXT)).status_code)

    assert asyncio.run(run()) == 200


def test_t38_flood_of_newcomers_wipes_no_members_chat(
    email_otp: EmailOtp, verifier: TokenVerifier, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.service.conversations.MAX_SESSIONS", 5)
    model = ScriptedModel("one")
    member = scripted(email_otp, verifier, model)
    member.access_token = signer.sign(access_claims())
    member.say("first")
    for number in range(10):
        newcomer = Browser(member.http)
        newcomer.session_id = f"{SESSION_ID}-{number}"
        newcomer.say("Hi")
    member.say("second")
    assert texts_shown(model) == ["first", "one", "second"]


def test_t38_slow_histories_hold_up_nobody(
    email_otp: EmailOtp, verifier: TokenVerifier, tmp_path: Path
) -> None:
    """T38: neither while they are read nor while they are written."""
    reading, writing = threading.Event(), threading.Event()

    class SlowManager(FileSessionManager):
        def initialize(self, agent: Any, **named: Any) -> None:
            assert reading.wait(20)
            super().initialize(agent, **named)

        def append_message(self, *shown: Any, **named: Any) -> None:
            assert writing.wait(20)
            super().append_message(*shown, **named)

    app = create_app(
        SETTINGS,
        email_otp=email_otp,
        verifier=verifier,
        session_manager=lambda name: SlowManager(name, storage_dir=str(tmp_path)),
    )
    invoke = app.handlers["main"]

    async def ask() -> None:
        answer = await invoke({"prompt": "Hi"}, CONTEXT)
        assert [chunk async for chunk in chunks_of(answer)]

    async def run() -> None:
        asked = asyncio.create_task(ask())
        await asyncio.sleep(0.1)  # which a loop that is held up could not
        busy = await invoke({"prompt": "Hi"}, CONTEXT)
        assert json.loads(busy.body)["code"] == "session_busy"
        reading.set()
        await asyncio.sleep(0.1)
        busy = await invoke({"prompt": "Hi"}, CONTEXT)
        assert json.loads(busy.body)["code"] == "session_busy"
        writing.set()
        await asked

    asyncio.run(run())


def test_history_that_cannot_be_loaded_leaves_the_session_usable(
    email_otp: EmailOtp, verifier: TokenVerifier, tmp_path: Path
) -> None:
    failures = [OSError("canary")]

    def manager(name: str) -> FileSessionManager:
        if failures:
            raise failures.pop()
        return FileSessionManager(name, str(tmp_path))

    app = create_app(SETTINGS, email_otp=email_otp, verifier=verifier, session_manager=manager)
    browser = Browser(TestClient(app, base_url=LOOPBACK))
    failed = browser.post({"prompt": "Hi"})
    assert (failed.status_code, "canary" in failed.text) == (500, False)
    browser.say("Hi")


def test_short_numbers_are_shown_where_no_code_was_asked_for(histories: Histories) -> None:
    browser, model = histories.restart()
    browser.say("room 407")
    assert texts_shown(model) == ["room 407"]


def test_short_numbers_of_a_member_are_shown_after_a_restart(
    histories: Histories, signer: Signer
) -> None:
    token = signer.sign(access_claims())
    histories.restart(access_token=token)[0].say("first")
    browser, model = histories.restart(access_token=token)
    browser.say("room 407")
    assert texts_shown(model)[-1] == "room 407"


def test_t38_slow_check_of_a_member_holds_up_nobody(
    email_otp: EmailOtp, verifier: TokenVerifier, signer: Signer
) -> None:
    """T38: neither the loop nor the threads that verify tokens."""
    told = threading.Event()
    app = create_app(
        SETTINGS,
        email_otp=email_otp,
        verifier=verifier,
        is_signed_in=lambda _: told.wait(5),
    )
    invoke, token = app.handlers["main"], signer.sign(access_claims())

    async def run() -> None:
        asked = asyncio.create_task(invoke({"prompt": "Hi"}, context_of(OTHER_SESSION, token)))
        await asyncio.sleep(0.1)
        assert (await invoke({"prompt": "Hi"}, CONTEXT)).status_code == 200
        assert not asked.done()
        told.set()
        assert (await asked).status_code == 200

    asyncio.run(run())


def test_t38_unknown_keys_hold_up_no_member(
    email_otp: EmailOtp, verifier: TokenVerifier, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T38: tokens under unknown key ids wait for the key endpoint in threads of their own."""
    go_on, waiting = threading.Event(), threading.Semaphore(0)
    verify = verifier.verify_access_token

    def slow(token: str) -> Any:
        if token == "unknown":
            waiting.release()
            go_on.wait(5)
        return verify(token)

    monkeypatch.setattr(verifier, "verify_access_token", slow)
    monkeypatch.setattr(email_otp, "reads", Threads("test", 1, waiting=0))
    app = create_app(SETTINGS, email_otp=email_otp, verifier=verifier)
    invoke = app.handlers["main"]

    async def run() -> None:
        asked = asyncio.create_task(invoke({"prompt": "Hi"}, context_of(OTHER_SESSION, "unknown")))
        assert await asyncio.to_thread(waiting.acquire, timeout=5)
        member = context_of(SESSION_ID, signer.sign(access_claims()))
        assert (await invoke({"prompt": "Hi"}, member)).status_code == 200
        assert not asked.done()
        go_on.set()
        assert (await asked).status_code == 401

    asyncio.run(run())


def test_t38_one_address_displaces_its_own_chats_alone(
    email_otp: EmailOtp,
    verifier: TokenVerifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.service.conversations.MAX_SESSIONS", 5)
    model = ScriptedModel([("initiate_cognito_login", {"email": ADA})], "one")
    browser = scripted(email_otp, verifier, model)
    browser.say(f"I'm {ADA}")
    for number in range(10):
        mallory = Browser(browser.http)
        mallory.session_id = f"{SESSION_ID}-{number}"
        model.steps = [[("initiate_cognito_login", {"email": "mallory@example.com"})], "done"]
        mallory.say("mallory@example.com")
    browser.say("second")
    assert f"I'm {ADA}" in str(model.shown[-1])


def test_t36_page_from_elsewhere_is_refused_before_its_body_is_read(browser: Browser) -> None:
    refused = browser.post(content=b"no JSON", headers={"Origin": "https://evil.example"})
    assert (refused.status_code, refused.json()["code"]) == (403, "not_loopback")
