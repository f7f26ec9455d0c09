"""How a refusal reaches a page past AgentCore, and that nothing else changes on that way."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Scope

from agent.main import create_app
from agent.service.refusal_streams import RefusalsAsStreams
from agent.service.requests import MAX_BODY_BYTES, BoundedJsonBody
from agent.sign_in.identity import TokenVerifier
from agent.sign_in.turns import EmailOtp
from infra.local.agentcore import AsAgentCore
from tests.support.chunks import chunks_in
from tests.support.fakes import LOOPBACK, Signer, access_claims
from tests.support.service import OTHER_SESSION, SETTINGS, Browser

REFUSAL = {"error": "Für heute genug.", "code": "busy"}


def post(app: ASGIApp, path: str = "/invocations") -> Any:
    return TestClient(app).post(path, json={"prompt": "Hi"})


def refusal_in(answer: Any) -> Any:
    """Return the refusal in an answer that is one chunk and the end of a stream."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    error, finish = chunks_in(answer.text.splitlines())
    assert error.keys() == {"type", "errorText"}
    assert (error["type"], finish) == ("error", {"type": "finish"})
    return json.loads(error["errorText"])


@pytest.mark.parametrize("status", [400, 401, 403, 413, 500, 503])
def test_refusal_of_any_status_is_its_very_json_in_one_chunk(status: int) -> None:
    app = JSONResponse(REFUSAL, status, headers={"Retry-After": "5"})

    bare, behind = post(app), post(RefusalsAsStreams(app))

    assert (bare.status_code, bare.json()) == (status, REFUSAL)
    assert refusal_in(behind) == REFUSAL
    assert next(chunks_in(behind.text.splitlines()))["errorText"] == bare.text
    assert "retry-after" not in behind.headers


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(JSONResponse({"code": "fine"}, 200), id="JSON that is no refusal"),
        pytest.param(PlainTextResponse("Not found", 404), id="a refusal that is no JSON"),
        pytest.param(StreamingResponse(iter([b"data: 1\n\n", b"data: 2\n\n"])), id="a stream"),
    ],
)
def test_every_other_answer_passes_as_it_is(answer: Any) -> None:
    passed = post(RefusalsAsStreams(answer))
    assert passed.status_code == answer.status_code
    assert passed.headers.get("content-length") == answer.headers.get("content-length")
    assert passed.text in ('{"code":"fine"}', "Not found", "data: 1\n\ndata: 2\n\n")


def test_other_paths_and_methods_keep_their_status() -> None:
    app = RefusalsAsStreams(JSONResponse(REFUSAL, 503))
    assert post(app, "/mailbox").status_code == 503
    assert TestClient(app).get("/invocations").status_code == 503


def test_refusal_of_a_body_that_is_too_long_is_whole_while_the_rest_is_read() -> None:
    pieces: Iterator[bytes] = iter([b" " * (MAX_BODY_BYTES + 1), b"more", b""])
    sent: list[Message] = []
    sent_at_the_last_piece: list[Message] = []

    async def receive() -> Message:
        piece = next(pieces)
        if not piece:
            sent_at_the_last_piece.extend(sent)
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}

    async def send(message: Message) -> None:
        sent.append(message)

    async def service(*_: Any) -> None:
        raise AssertionError

    scope: Scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": []}
    asyncio.run(RefusalsAsStreams(BoundedJsonBody(service))(scope, receive, send))
    start, body = sent_at_the_last_piece
    assert start["status"] == 200
    assert (b"content-length", str(len(body["body"])).encode()) in start["headers"]
    error, _finish = chunks_in(body["body"].decode().splitlines())
    assert json.loads(error["errorText"])["code"] == "invalid_request"
    assert body["more_body"] is True
    assert sent[2:] == [{"type": "http.response.body", "body": b""}]


@pytest.fixture
def hosted(email_otp: EmailOtp, verifier: TokenVerifier) -> Iterator[Browser]:
    app = create_app(SETTINGS, email_otp=email_otp, verifier=verifier, hosted=True)
    with TestClient(AsAgentCore(app), base_url=LOOPBACK) as http:
        yield Browser(http)


def test_hosted_agents_refusals_go_past_agentcore(
    hosted: Browser, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def code_of(answer: Any) -> str:
        return str(refusal_in(answer)["code"])

    hosted.say("Hello")
    told = [
        code_of(hosted.post({"prompt": 7})),
        code_of(hosted.post(content=b"no JSON")),
        code_of(hosted.post(content=b" " * (MAX_BODY_BYTES + 1))),
        code_of(hosted.post({"prompt": "Hi"}, headers={"Authorization": "Bearer x"})),
    ]
    hosted.access_token = signer.sign(access_claims(exp=2_000_000_000))
    told.append(code_of(hosted.post({"prompt": "Hi"})))
    hosted.session_id, hosted.access_token = OTHER_SESSION, None
    monkeypatch.setattr("agent.service.requests.ChatRequest.read", "not callable")
    told.append(code_of(hosted.post({"prompt": "Hi"})))
    assert told == [
        *["invalid_request"] * 3,
        "invalid_token",
        "foreign_session",
        "internal_error",
    ]


def test_agent_that_is_not_hosted_keeps_its_statuses(browser: Browser) -> None:
    answer = browser.post({"prompt": "Hi"}, headers={"Authorization": "Bearer x"})
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


@pytest.mark.parametrize(("hosted", "statuses"), [(True, [200, 200]), (False, [403, 403])])
def test_t36_hosts_and_pages_from_elsewhere_reach_a_hosted_agent_alone(
    email_otp: EmailOtp, verifier: TokenVerifier, *, hosted: bool, statuses: list[int]
) -> None:
    """T36: AgentCore decides who reaches a hosted one, under a name of its own."""
    app = create_app(SETTINGS, email_otp=email_otp, verifier=verifier, hosted=hosted)
    with TestClient(app, base_url="http://runtime.internal:8080") as http:
        answers = [
            Browser(http).post({"prompt": "Hi"}),
            Browser(http).post({"prompt": "Hi"}, headers={"Origin": "https://page.example"}),
        ]
    assert [answer.status_code for answer in answers] == statuses
