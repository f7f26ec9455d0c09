"""The agent with a Bedrock model: what goes to Bedrock, and that its answer reaches the guest."""

import binascii
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent_process import Chat, running_agent
from tests.support.chunks import text_of
from tests.support.deployment import Deployment
from tests.support.http_server import QuietHandler, answering


def _event(event_type: str, payload: dict[str, Any]) -> bytes:
    """Return one message of an AWS event stream.

    https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html
    """

    def header(name: str, value: str) -> bytes:
        return (
            bytes([len(name)]) + name.encode() + b"\x07" + len(value).to_bytes(2) + value.encode()
        )

    headers = (
        header(":event-type", event_type)
        + header(":content-type", "application/json")
        + header(":message-type", "event")
    )
    body = json.dumps(payload).encode()
    prelude = (len(headers) + len(body) + 16).to_bytes(4) + len(headers).to_bytes(4)
    message = prelude + binascii.crc32(prelude).to_bytes(4) + headers + body
    return message + binascii.crc32(message).to_bytes(4)


ANSWER = (
    _event("messageStart", {"role": "assistant"})
    + _event("contentBlockDelta", {"delta": {"text": "Hello from "}, "contentBlockIndex": 0})
    + _event("contentBlockDelta", {"delta": {"text": "Bedrock"}, "contentBlockIndex": 0})
    + _event("contentBlockStop", {"contentBlockIndex": 0})
    + _event("messageStop", {"stopReason": "end_turn"})
    + _event(
        "metadata",
        {
            "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
            "metrics": {"latencyMs": 1},
        },
    )
)


class FakeBedrock(ThreadingHTTPServer):
    """Answers every call with the same words.

    Attributes:
        requests: The path and body of each call.
        at_once: Calls that wait for each other, so that none is answered before all have come.
    """

    request_queue_size = 100

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.at_once = threading.Barrier(1)
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(QuietHandler):
    server: FakeBedrock

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, body))
        self.server.at_once.wait(20)
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.amazon.eventstream")
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)


@pytest.fixture
def bedrock() -> Iterator[FakeBedrock]:
    server = FakeBedrock()
    with answering(server):
        yield server


@pytest.fixture
def url(stack: Deployment, bedrock: FakeBedrock, tmp_path: Path) -> Iterator[str]:
    environment = {
        "MODEL_ID": "example.model-v1",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": f"http://127.0.0.1:{bedrock.server_port}",
    }
    with running_agent(tmp_path, stack.outputs, environment=environment) as url:
        yield url


def test_model_id_picks_a_bedrock_model_beside_ministack(url: str, bedrock: FakeBedrock) -> None:
    """With the role's credentials here: an API key travels over TLS alone."""
    answer = Chat(url).say("When is breakfast?")
    assert text_of(answer) == "Hello from Bedrock"
    ((path, body),) = bedrock.requests
    assert path == "/model/example.model-v1/converse-stream"
    assert body["messages"] == [{"role": "user", "content": [{"text": "When is breakfast?"}]}]
    assert "code_reference" in body["system"][0]["text"]
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == [
        "initiate_cognito_login",
        "verify_cognito_otp",
        "get_guest_profile",
    ]


def test_t38_slow_answers_of_bedrock_wait_for_no_other(url: str, bedrock: FakeBedrock) -> None:
    """T38: each holds a thread of the model's; 45 are more than an event loop has by default."""
    bedrock.at_once = threading.Barrier(45)

    def ask(_: int) -> str:
        return text_of(Chat(url).say("When is breakfast?"))

    with ThreadPoolExecutor(45) as visitors:
        assert list(visitors.map(ask, range(45))) == ["Hello from Bedrock"] * 45
