"""Brings a refusal past AgentCore, which discards the body of every answer that is not 2xx."""

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.service.streaming import event


class RefusalsAsStreams:
    """Turns a JSON refusal of `POST /invocations`, whatever its status, into a stream with 200.

    The stream is one chunk, `{"type": "error", "errorText": <the refusal's JSON as text>}`, and the
    `finish` that ends every answer.

    Args:
        app: What answers; its refusals come in one piece. All else passes as it comes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look at how the answer begins."""
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", "/invocations"):
            return await self._app(scope, receive, send)
        refused = False

        async def send_as_stream(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and _is_refusal(message):
                refused = True  # what for is in its body
            elif refused:
                refused = False
                stream = _stream(message["body"].decode())
                await send(
                    {"type": "http.response.start", "status": 200, "headers": stream.raw_headers}
                )
                # Whoever sends too much is read on after this, so the end of it is the app's.
                await send({**message, "body": stream.body})
            else:
                await send(message)

        return await self._app(scope, receive, send_as_stream)


def _is_refusal(start: Message) -> bool:
    is_json = Headers(raw=start["headers"]).get("Content-Type") == "application/json"
    return is_json and not 200 <= start["status"] < 300


def _stream(refusal: str) -> Response:
    return Response(
        event({"type": "error", "errorText": refusal}) + event({"type": "finish"}),
        headers={"Cache-Control": "no-store"},
        media_type="text/event-stream",
    )
