"""What an attacker has at hand: a model that obeys, any request, tokens of their own making."""

import base64
import hashlib
import hmac
import json
import re
import time
import uuid
from collections.abc import AsyncIterable
from typing import Any

import httpx
from botocore.exceptions import ClientError
from strands.types.streaming import StreamEvent

from agent.sign_in.settings import Settings
from tests.support.agent_process import SESSION_HEADER, Chat, sign_in
from tests.support.chunks import text_of
from tests.support.deployment import Deployment, new_address
from tests.support.scripted_model import Call, ScriptedModel, reference_in

PROFILE: Call = ("get_guest_profile", {})


class Puppet(ScriptedModel):
    """A model that does whatever the test says.

    Attributes:
        forever: Calls to make again and again.
        breaks_off: Whether to fail after the first words.
    """

    def __init__(self) -> None:
        super().__init__()
        self.forever: list[Call] | None = None
        self.breaks_off = False

    def play(self, *steps: Any) -> None:
        """Play these steps, then say "done"."""
        self.steps, self.shown = list(steps), []
        self.forever, self.breaks_off = None, False

    async def stream(self, messages: Any, *shown: Any, **named: Any) -> AsyncIterable[StreamEvent]:
        """Play the next step."""
        if self.forever is not None:
            self.steps = [self.forever]
        async for event in super().stream(messages, *shown, **named):
            yield event
            if self.breaks_off and "contentBlockDelta" in event:
                raise RuntimeError("canary")


class Member:
    """Someone who has signed in."""

    def __init__(self, stack: Deployment, url: str) -> None:
        self.address = new_address()
        self.event = sign_in(stack, Chat(url), self.address)
        self.access_token: str = self.event["access_token"]
        self.guest_id: str = self.event["guest_id"]
        self.sub: str = self.event["cognito_sub"]


def post(
    url: str, payload: Any, headers: list[tuple[str, str]] | None = None, session_id: str = ""
) -> httpx.Response:
    sent = [(SESSION_HEADER, session_id or f"session-{uuid.uuid4()}"), *(headers or [])]
    return httpx.post(f"{url}/invocations", json=payload, headers=sent, timeout=30)


def bearer(access_token: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {access_token}")]


def is_well(url: str) -> bool:
    return "7:00" in text_of(Chat(url).say("When are you open?"))


def has_user(stack: Deployment, address: str) -> bool:
    try:
        stack.attributes(address)
    except ClientError:
        return False
    return True


def call(tool_name: str, /, **tool_input: Any) -> list[Call]:
    return [(tool_name, tool_input)]


def verify_what_was_typed(messages: Any) -> list[Call]:
    return call("verify_cognito_otp", code_reference=reference_in(messages))


def claims_of(settings: Settings, **changes: Any) -> dict[str, Any]:
    """Return a good access token's claims, with changes; None takes a claim away."""
    now = int(time.time())
    claims = {
        "iss": settings.issuer,
        "sub": str(uuid.uuid4()),
        "token_use": "access",
        "client_id": settings.user_pool_client_id,
        "iat": now,
        "exp": now + 900,
    } | changes
    return {name: value for name, value in claims.items() if value is not None}


def assemble(header: dict[str, Any], claims: Any, key: bytes | None = None) -> str:
    """Return a JWT no library would make, signed with HMAC if there is a key."""
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()) for each in (header, claims)]
    signed = b".".join(part.rstrip(b"=") for part in parts)
    signature = hmac.digest(key, signed, hashlib.sha256) if key else b""
    return f"{signed.decode()}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def refused(url: str, access_token: str) -> str:
    """Send a token; returns why it was refused, which the body and the header must agree on."""
    response = post(url, {"prompt": "When are you open?"}, bearer(access_token))
    assert response.status_code == 401
    assert response.json()["code"] == "invalid_token"
    challenge = response.headers["www-authenticate"]
    told = re.fullmatch(r'Bearer error="invalid_token", error_description="([ -~]*)"', challenge)
    assert told
    assert len(access_token) < 20 or access_token not in response.text + challenge
    assert "7:00" not in response.text
    claim = told[1].partition(":")[0]
    assert response.json()["error"].startswith(f"{claim}:")
    return claim
