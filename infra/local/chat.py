"""Serves the local chat: page, agent as behind AgentCore, and mails, at one loopback address."""

import logging
import os
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit

from bedrock_agentcore.runtime import BedrockAgentCoreApp
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.main import create_app, serve
from agent.service.loopback import LoopbackOnly
from agent.service.settings import ServiceSettings
from agent.sign_in.observability import log_to_stderr
from agent.sign_in.settings import SettingsError
from infra.local.agentcore import AsAgentCore
from infra.local.ministack import HOST, ROOT, mails
from infra.page_headers import HASHED_FILES, strict_headers

PAGE = ROOT / "agent" / "web" / "dist"
MAX_MAILS = 50


class StrictHeaders:
    """Adds strict headers to every answer; it passes messages on as they come, so answers stream.

    Args:
        app: What answers.
        cognito_port: Where MiniStack listens, the one other origin the page may talk to.
    """

    def __init__(self, app: ASGIApp, *, cognito_port: int) -> None:
        self._app = app
        self._headers = strict_headers(
            connect_to=[f"http://{HOST}:{cognito_port}", f"http://localhost:{cognito_port}"]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to the answer."""
        if scope["type"] == "websocket":
            return None  # the chat has none

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                if not scope["path"].startswith(HASHED_FILES):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        return await self._app(scope, receive, send_with_headers)


def create_chat(settings: ServiceSettings, *, page: Path) -> BedrockAgentCoreApp:
    """Compose the agent's service with the page, its configuration and the mailbox.

    Args:
        settings: The local deployment to work with.
        page: The folder the page was built into.

    Raises:
        SettingsError: The settings are those of AWS.
    """
    endpoint_url = settings.endpoint_url
    if endpoint_url is None:
        raise SettingsError("AWS_ENDPOINT_URL is not set: the local chat works with MiniStack only")
    cognito_port = urlsplit(endpoint_url).port or 80

    def config(request: Request) -> JSONResponse:
        return JSONResponse(
            {
                "region": settings.region,
                "clientId": settings.user_pool_client_id,
                # Under the page's own name: to a browser, localhost and 127.0.0.1 are two sites.
                "cognitoEndpoint": f"http://{request.url.hostname}:{cognito_port}",
                "guestEndpoint": "/invocations",
                "memberEndpoint": "/invocations",
                "mailboxEndpoint": "/mailbox",
            }
        )

    def mailbox(_request: Request) -> JSONResponse:
        try:
            newest_first = mails(endpoint_url)[: -MAX_MAILS - 1 : -1]
        except (URLError, TimeoutError):
            return JSONResponse({"error": "MiniStack does not answer."}, 502)
        return JSONResponse(
            [
                {
                    "to": ", ".join(mail["To"]),
                    "subject": mail["Subject"],
                    "text": mail["BodyText"],
                    "at": mail["Timestamp"],
                }
                for mail in newest_first
            ]
        )

    app = create_app(settings, hosted=True)
    app.router.routes += [
        Route("/config.json", config),
        Route("/mailbox", mailbox),
        Mount("/", StaticFiles(directory=page, html=True)),
    ]
    app.add_middleware(AsAgentCore)
    # In front of that: else its 403 becomes a 424, and any page may ask for a conflict.
    app.add_middleware(LoopbackOnly)
    app.add_middleware(StrictHeaders, cognito_port=cognito_port)
    return app


def main(page: Path) -> int:
    """Serve on the loopback address until stopped, with the page in a folder."""
    try:
        settings = ServiceSettings.load(os.environ)
        app = create_chat(settings, page=page)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    log_to_stderr(logging.INFO)
    serve(app, settings.port)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE))
