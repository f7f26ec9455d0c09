"""Serves what a test needs on loopback: the agent with any model or verifier, and key sets."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import uvicorn
from starlette.types import ASGIApp
from strands.models import Model

from agent.main import create_app
from agent.service.settings import ServiceSettings
from agent.sign_in import EmailOtp
from agent.sign_in.identity import TokenVerifier
from agent.sign_in.settings import Settings
from infra.local import ministack
from infra.local.deployment import CREDENTIALS
from infra.local.serving import agent_environment
from tests.support.deployment import Deployment
from tests.support.http_server import QuietHandler, answering

_START_SECONDS = 30


def settings_of(stack: Deployment, directory: Path) -> ServiceSettings:
    """Return the agent's settings for a deployment."""
    return ServiceSettings.load(agent_environment(directory, stack.outputs))


def root_session(settings: Settings) -> boto3.Session:
    """Return a session with all permissions in MiniStack."""
    return boto3.Session(region_name=settings.region, **CREDENTIALS)


def email_otp_of(settings: Settings, session: boto3.Session | None = None) -> EmailOtp:
    """Return the sign-in on MiniStack's clients."""
    return EmailOtp.connect(settings, session or root_session(settings))


@contextlib.contextmanager
def serving(
    settings: ServiceSettings,
    *,
    email_otp: EmailOtp | None = None,
    model: Model | None = None,
    verifier: TokenVerifier | None = None,
) -> Iterator[str]:
    """Serve the agent from a thread of this process; yields its address."""
    app = create_app(
        settings,
        email_otp=email_otp or email_otp_of(settings),
        model=model,
        verifier=verifier,
        # Cognito knows no token that a test has signed.
        is_signed_in=(lambda _: True) if verifier else None,
    )
    app.logger.handlers.clear()
    port = ministack.free_port()
    with serving_app(app, port):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def serving_app(app: ASGIApp, port: int, **settings: Any) -> Iterator[None]:
    """Serve an app on a loopback port from a thread; `settings` are uvicorn's."""
    server = uvicorn.Server(
        uvicorn.Config(
            app, host="127.0.0.1", port=port, log_config=None, lifespan="off", **settings
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + _START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the server did not start")
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


@dataclass
class KeyServer:
    """A pool's key endpoint.

    Attributes:
        keys: What it answers; None for an error.
        fetches: How often it was asked.
        open: Whether it answers; else who asks waits.
    """

    keys: list[dict[str, Any]] | None
    fetches: int = 0
    open: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Answer on loopback; yields the address."""
        key_server = self
        self.open.set()

        class Handler(QuietHandler):
            def do_GET(self) -> None:
                key_server.fetches += 1
                key_server.open.wait()
                self.send_response(500 if key_server.keys is None else 200)
                self.end_headers()
                self.wfile.write(json.dumps({"keys": key_server.keys}).encode())

        with answering(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
            yield f"{url}/jwks.json"
