"""What is taken from a browser, and what is refused."""

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError
from starlette.testclient import TestClient
from starlette.types import Message, Scope

from agent.main import create_app
from agent.service.requests import (
    MAX_BODY_BYTES,
    MAX_CODE_CHARS,
    MAX_DROPPED_BYTES,
    MAX_PROMPT_CHARS,
    BoundedJsonBody,
)
from agent.sign_in.capacity import Threads
from agent.sign_in.identity import KeySet, TokenVerifier
from agent.sign_in.observability import JsonFormatter
from agent.sign_in.turns import EmailOtp
from tests.support.chunks import outputs_of, text_of
from tests.support.clock import NOW, Clock
from tests.support.fakes import (
    CLIENT_ID,
    ISSUER,
    LOOPBACK,
    SESSION_ID,
    FakeCognito,
    RecordingCounter,
    Signer,
    access_claims,
    aws_error,
)
from tests.support.scripted_model import ScriptedModel, Step
from tests.support.service import (
    ADA,
    CONTEXT,
    OTHER_SESSION,
    SETTINGS,
    Browser,
    chunks_of,
    context_of,
    scripted,
    texts_shown,
)


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


def test_sender_of_an_endless_body_who_stops_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.service.requests.DROPPING_SECONDS", 0.05)

    class Stopped(Connection):
        async def receive(self) -> Message:
            if self.received_before_the_answer:
                await asyncio.sleep(60)
            return await super().receive()

    stopped = Stopped(
        {"type": "http.request", "body": b" " * MAX_BODY_BYTES * 2, "more_body": True}
    )
    stopped.run()
    assert stopped.sent[-1] == {"type": "http.response.body", "body": b""}


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


def test_locale_of_the_page_reaches_a_new_user(browser: Browser, cognito: FakeCognito) -> None:
    browser.post({"prompt": ADA, "locale": "de-AT"})
    assert cognito.attributes[ADA]["locale"] == "de-AT"


@pytest.mark.parametrize("locale", ["de<script>", "d" * 36, "", 7, ["de"], None])
def test_locale_that_is_none_is_passed_over(
    browser: Browser, cognito: FakeCognito, locale: object
) -> None:
    assert browser.post({"prompt": ADA, "locale": locale}).status_code == 200
    assert "locale" not in cognito.attributes[ADA]


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
    monkeypatch.setattr("agent.sign_in.capacity.TURNS_PER_MEMBER", 2)
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


def test_t36_page_from_elsewhere_is_refused_before_its_body_is_read(browser: Browser) -> None:
    refused = browser.post(content=b"no JSON", headers={"Origin": "https://evil.example"})
    assert (refused.status_code, refused.json()["code"]) == (403, "not_loopback")
