"""The agent as its users reach it: a process on loopback, spoken to over HTTP."""

import contextlib
import platform
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from infra.local import ministack
from infra.local.serving import agent_environment
from tests.support.chunks import chunks_in, outputs_of, text_of
from tests.support.deployment import Deployment, http

SESSION_HEADER = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"

# Neither this environment's packages nor variables that lead to others.
ALONE = ("-S", "-E")
THIS_PLATFORM = {"linux": f"{platform.machine()}-manylinux_2_28"}.get(sys.platform, "macos")
"""What a hosted agent's bundle is built for to run here."""

_START_SECONDS = 30


@dataclass
class Chat:
    """One chat of one browser: a session id, and a bearer token once signed in."""

    url: str
    access_token: str | None = None
    session_id: str = field(default_factory=lambda: f"session-{uuid.uuid4()}")
    locale: str | None = None

    def stream(self, prompt: str, code: str | None = None) -> Iterator[dict[str, Any]]:
        """Say something; yields the answer's chunks as they arrive.

        Raises:
            httpx.HTTPStatusError: the agent refused the request before the stream.
        """
        with http.stream(
            "POST",
            f"{self.url}/invocations",
            json={"prompt": prompt}
            | ({"code": code} if code else {})
            | ({"locale": self.locale} if self.locale else {}),
            headers=self.headers(),
        ) as response:
            if response.is_error:
                response.read()
                response.raise_for_status()
            yield from chunks_in(response.iter_lines())

    def say(self, prompt: str, code: str | None = None) -> list[dict[str, Any]]:
        """Say something; returns all the answer's chunks."""
        return list(self.stream(prompt, code))

    def headers(self) -> dict[str, str]:
        """Return the headers a browser sends."""
        headers = {SESSION_HEADER: self.session_id}
        if self.access_token:
            headers["Authorization"] = f"Bearer {self.access_token}"
        return headers


def ask_for_code(chat: Chat, address: str) -> None:
    """Say name and address; a code is mailed, or was just now."""
    assert outputs_of(chat.say(f"I'm Ada Lovelace, {address}"))[0]["success"] is True


def tokens_in(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the `TokenDeliveryEvent`, which is all that the tools gave."""
    (event,) = outputs_of(chunks)
    assert event["event_type"] == "auth_tokens"
    assert "You are signed in" in text_of(chunks)
    return dict(event)


def sign_in(stack: Deployment, chat: Chat, address: str) -> dict[str, Any]:
    """Have a code mailed and enter it; returns the `TokenDeliveryEvent`."""
    ask_for_code(chat, address)
    return tokens_in(chat.say("", code=stack.code_mailed_to(address)))


@contextlib.contextmanager
def running_agent(
    directory: Path,
    outputs: dict[str, str],
    *,
    program: Sequence[str] = ("-m", "agent.main"),
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Run the agent on a free loopback port against a deployment; yields its address.

    `program` is what Python is to run: `-m infra.local.chat` serves the mailbox too, and the page
    in the folder that is its one argument. `environment` is added to what `infra.local` gives it.
    """
    port = ministack.free_port()
    url = f"http://127.0.0.1:{port}"
    with (directory / "agent.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *program],
            cwd=ministack.ROOT,
            env=agent_environment(directory, outputs)
            | {"PORT": str(port)}
            | dict(environment or {}),
            stdout=log,
            stderr=log,
        )
        try:
            _wait_until_ready(process, url, directory / "agent.log")
            yield url
        finally:
            process.terminate()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            http.get(f"{url}/ping")
            return
        time.sleep(0.05)
    raise RuntimeError(f"the agent did not start:\n{log.read_text()}")
