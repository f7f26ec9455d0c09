"""Answers the local chat as AgentCore Runtime would with the same agent behind it."""

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class AsAgentCore:
    """Does to `POST /invocations` what AWS Bedrock AgentCore Runtime does.

    An answer that is not 2xx becomes a 424 `RuntimeClientError`, without its body and headers.
    After `POST /_agentcore/conflict` (204) the next message gets a 409 `RetryableConflictException`
    and reaches no agent. Such an error is `{"message": <sentence>}`, with its name in
    `x-amzn-ErrorType`. Everything else passes as it comes.

    It leaves out how AgentCore tells callers apart (IAM, the JWT authorizer), which headers it
    passes on, a machine for each session, its rates and its time limits.

    The errors, and that a 409 is to be tried again:
    https://docs.aws.amazon.com/bedrock-agentcore/latest/APIReference/API_InvokeAgentRuntime.html
    The sentences: https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-troubleshooting.html
    The body of a 424, as seen: https://github.com/aws/bedrock-agentcore-sdk-python/issues/599

    Args:
        app: The agent.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._conflict_is_next = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        match scope["type"], scope.get("method"), scope.get("path"):
            case "http", "POST", "/invocations" if self._conflict_is_next:
                self._conflict_is_next = False
                await _conflict()(scope, receive, send)
            case "http", "POST", "/invocations":
                await self._app(scope, receive, _hiding_refusals(send))
            case "http", "POST", "/_agentcore/conflict":
                self._conflict_is_next = True
                await Response(status_code=204)(scope, receive, send)
            case _:
                await self._app(scope, receive, send)


def _hiding_refusals(send: Send) -> Send:
    """Return what sends an answer, or AgentCore's error in its place."""
    body: bytes | None = None  # what is still to be sent of the error, if it is one

    async def send_or_hide(message: Message) -> None:
        nonlocal body
        if message["type"] == "http.response.start" and not 200 <= message["status"] < 300:
            error = _runtime_client_error(message["status"])
            body = bytes(error.body)
            message = {**message, "status": 424, "headers": error.raw_headers}
        elif body is not None:
            # The agent may read on while it answers, so the end of it is the agent's.
            message = {**message, "body": body}
            body = b""
        await send(message)

    return send_or_hide


def _runtime_client_error(status: int) -> Response:
    return _error(
        424,
        "RuntimeClientError",
        f"Received error ({status}) from runtime. "
        "Please check your CloudWatch logs for more information.",
    )


def _conflict() -> Response:
    return _error(409, "RetryableConflictException", "Session operation in progress, please retry.")


def _error(status: int, name: str, message: str) -> Response:
    return JSONResponse({"message": message}, status, headers={"x-amzn-ErrorType": name})
