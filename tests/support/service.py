"""The service as a page reaches it, without a socket."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from bedrock_agentcore.runtime.context import RequestContext
from starlette.requests import Request
from starlette.testclient import TestClient

from agent.main import create_app
from agent.service.settings import ServiceSettings
from agent.sign_in.identity import TokenVerifier
from agent.sign_in.turns import EmailOtp
from tests.support.fakes import CLIENT_ID, LOOPBACK, POOL_ID, REGION, SESSION_ID
from tests.support.scripted_model import ScriptedModel

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


def scripted(email_otp: EmailOtp, verifier: TokenVerifier, model: ScriptedModel) -> Browser:
    return Browser(
        TestClient(
            create_app(SETTINGS, email_otp=email_otp, verifier=verifier, model=model),
            base_url=LOOPBACK,
        )
    )


def texts_shown(model: ScriptedModel) -> list[str]:
    return [message["content"][0]["text"] for message in model.shown[-1][0]]


async def chunks_of(answer: Any) -> AsyncGenerator[dict[str, Any]]:
    """Read an answer as the browser does."""
    async with aclosing(answer.body_iterator) as frames:
        async for frame in frames:
            yield json.loads(frame.decode().removeprefix("data: "))


def context_of(session_id: str, access_token: str | None = None) -> RequestContext:
    headers = {"x-amzn-bedrock-agentcore-runtime-session-id": session_id}
    if access_token:
        headers["authorization"] = f"Bearer {access_token}"
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    request = Request({"type": "http", "headers": raw})
    return RequestContext(session_id=None, request_headers=None, request=request)
