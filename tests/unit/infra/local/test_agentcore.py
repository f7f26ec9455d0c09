"""What AgentCore makes of an agent's answers: each agent is asked bare, and behind it."""

import asyncio
from typing import Any

import pytest
from botocore.parsers import ResponseParserFactory
from botocore.session import get_session
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.local.agentcore import AsAgentCore

ANSWERS: dict[str, ASGIApp] = {
    "401": JSONResponse({"code": "canary"}, 401, headers={"WWW-Authenticate": "canary"}),
    "403": JSONResponse({"code": "canary"}, 403, headers={"Set-Cookie": "a=canary"}),
    "413": JSONResponse({"code": "canary"}, 413),
    "500": PlainTextResponse("canary", 500),
    "503": JSONResponse({"code": "canary"}, 503, headers={"Retry-After": "5"}),
    "307": RedirectResponse("/canary"),
}


def post(app: ASGIApp, path: str = "/invocations") -> Any:
    return TestClient(app).post(path, json={"prompt": "Hi"}, follow_redirects=False)


def read_by_sdk(answer: Any) -> dict[str, Any]:
    """Read an error as AWS's own SDK does."""
    parser = ResponseParserFactory().create_parser("rest-json")
    model = get_session().get_service_model("bedrock-agentcore")
    shape = model.operation_model("InvokeAgentRuntime").output_shape
    assert shape is not None
    answered = {
        "status_code": answer.status_code,
        "headers": answer.headers,
        "body": answer.content,
    }
    return dict(parser.parse(answered, shape)["Error"])


@pytest.mark.parametrize("status", ANSWERS)
def test_answer_that_is_not_2xx_becomes_a_424_of_agentcores_own(status: str) -> None:
    bare, behind = post(ANSWERS[status]), post(AsAgentCore(ANSWERS[status]))

    assert bare.status_code == int(status)
    assert (behind.status_code, behind.json().keys()) == (424, {"message"})
    assert read_by_sdk(behind) == {
        "Code": "RuntimeClientError",
        "Message": f"Received error ({status}) from runtime. "
        "Please check your CloudWatch logs for more information.",
    }
    assert behind.headers.keys() == {"content-type", "content-length", "x-amzn-errortype"}
    assert "canary" not in behind.text


@pytest.mark.parametrize("status", [200, 201, 299])
def test_2xx_passes_as_it_is(status: int) -> None:
    app = JSONResponse({"code": "fine"}, status, headers={"Retry-After": "5"})

    bare, behind = post(app), post(AsAgentCore(app))

    assert bare.status_code == status
    assert (behind.status_code, behind.headers, behind.content) == (
        bare.status_code,
        bare.headers,
        bare.content,
    )


@pytest.mark.parametrize("path", ["/ping", "/config.json", "/mailbox", "/", "/invocations/more"])
def test_what_is_no_invocation_passes_whatever_its_status(path: str) -> None:
    app = JSONResponse({"error": "MiniStack does not answer."}, 502)
    assert post(AsAgentCore(app), path).content == post(app, path).content
    assert TestClient(AsAgentCore(app)).get("/invocations").status_code == 502


class Agent:
    """Answers in parts, reads on between two of them, and keeps what had gone out by then."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.sent: list[Message] = []
        self.sent_before_the_end: list[Message] = []

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"6")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"first ", "more_body": True})
        await receive()
        self.sent_before_the_end = list(self.sent)
        await send({"type": "http.response.body", "body": b"second", "more_body": False})

    def ask_behind_agentcore(self) -> None:
        scope: Scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": []}

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": True}

        async def send(message: Message) -> None:
            self.sent.append(message)

        asyncio.run(AsAgentCore(self)(scope, receive, send))


def test_stream_passes_part_by_part() -> None:
    agent = Agent(200)
    agent.ask_behind_agentcore()
    assert [message.get("body") for message in agent.sent] == [None, b"first ", b"second"]
    assert len(agent.sent_before_the_end) == 2


def test_error_is_whole_while_the_agent_still_reads_what_it_refused() -> None:
    agent = Agent(413)
    agent.ask_behind_agentcore()
    start, body = agent.sent_before_the_end
    assert start["status"] == 424
    assert (b"content-length", str(len(body["body"])).encode()) in start["headers"]
    assert b"Received error (413)" in body["body"]
    assert body["more_body"] is True
    assert agent.sent[2:] == [{"type": "http.response.body", "body": b"", "more_body": False}]


def test_conflict_is_answered_once_and_reaches_no_agent() -> None:
    asked: list[str] = []

    async def agent(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        await PlainTextResponse("Hello")(scope, receive, send)

    app = AsAgentCore(agent)
    assert post(app).status_code == 200
    assert post(app, "/_agentcore/conflict").status_code == 204
    assert post(app, "/other").status_code == 200
    conflict = post(app)
    assert conflict.status_code == 409
    assert read_by_sdk(conflict)["Code"] == "RetryableConflictException"
    assert asked == ["/invocations", "/other"]
    assert post(app).text == "Hello"
