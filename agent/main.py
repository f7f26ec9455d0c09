"""The agent's HTTP service: `python -m agent.main` answers `POST /invocations` on loopback.

A refusal before the stream is JSON, `{"error": <sentence>, "code": <one of the codes below>}`:
400 `invalid_request`, `session_busy`; 401 `invalid_token` with `WWW-Authenticate`;
403 `foreign_session`, `not_loopback`; 500 `internal_error`; 503 `keys_unavailable`,
`busy` with `Retry-After`.
"""

import asyncio
import hashlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, override

from bedrock_agentcore.runtime import BedrockAgentCoreApp
from bedrock_agentcore.runtime.context import RequestContext
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from strands import Agent
from strands.models import Model
from strands.session.session_manager import SessionManager
from strands.types.content import ContentBlock, Messages

from agent.service.loopback import LoopbackOnly
from agent.service.offline_model import OfflineModel
from agent.sign_in.capacity import (
    A_MEMBERS_AT_ONCE,
    ANONYMOUS_AT_ONCE,
    BUSY,
    HISTORY_THREADS,
    MEMBERS_AT_ONCE,
    RETRY_AFTER_SECONDS,
    TURNS_AT_ONCE,
    VERIFYING_THREADS,
    BusyError,
    ModelThreads,
    Place,
    Places,
    Threads,
    from_loop,
)
from agent.sign_in.identity import (
    KeySet,
    KeysUnavailableError,
    TokenError,
    TokenVerifier,
    fetch_jwks,
)
from agent.sign_in.observability import (
    access_tokens_refused,
    describe,
    log_to_stderr,
    pin_library_loggers,
)
from agent.sign_in.sessions import Sessions
from agent.sign_in.settings import Settings, SettingsError, load_settings
from agent.sign_in.stream import STREAM_FAILED, Chunk, ui_message_chunks
from agent.sign_in.tools import EmailOtp, Turn, email_otp_tools

_log = logging.getLogger("agent.main")  # also when run as __main__

NOT_CHECKED = "The sign-in cannot be checked right now. Please try again."
SESSION_BUSY = "The last message of this session is still being answered."
MAX_BODY_BYTES = 65_536
MAX_PROMPT_CHARS = 8_000
MAX_CODE_CHARS = 64
# The bounds AgentCore sets for a runtime session id.
MIN_SESSION_ID_CHARS, MAX_SESSION_ID_CHARS = 33, 256
SESSION_ID_HEADER = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"
# Optional; AgentCore passes no Accept-Language on.
LOCALE_HEADER = "X-Amzn-Bedrock-AgentCore-Runtime-Custom-Locale"
LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
MAX_SESSIONS = 1_000
SESSION_IDLE_SECONDS = 3_600
# A sign-in takes a tool call or two; a model that loops ends here.
MAX_MODEL_CALLS_PER_TURN = 8


class RequestError(Exception):
    """A request that is not answered with a stream."""

    def __init__(self, status: int, code: str, error: str, **headers: str) -> None:
        super().__init__(error)
        self.status = status
        self.code = code
        self.error = error
        self.headers = headers

    def response(self) -> JSONResponse:
        """Return it as JSON."""
        return JSONResponse(
            {"error": self.error, "code": self.code}, self.status, headers=self.headers
        )


@dataclass(slots=True)
class Conversation:
    """One session's chat: it belongs to the `sub`, or to the anonymous visitor, who began it."""

    agent: Agent | None = None
    cognito_sub: str | None = None
    history: SessionManager | None = None
    busy: bool = False


def create_app(
    settings: Settings,
    *,
    email_otp: EmailOtp | None = None,
    verifier: TokenVerifier | None = None,
    is_signed_in: Callable[[str], bool] | None = None,
    model: Model | None = None,
    session_manager: Callable[[str], SessionManager] | None = None,
    clock: Callable[[], float] = time.time,
) -> BedrockAgentCoreApp:
    """Compose the service.

    Args:
        settings: The deployment to work with.
        email_otp: Instead of one on AWS clients.
        verifier: Instead of one that fetches the pool's keys.
        is_signed_in: Instead of asking Cognito whether it still takes a verified token.
        model: Instead of the one `settings.model_id` names.
        session_manager: Makes the Strands session manager that keeps the history with the given
            id, 64 hexadecimal digits; by default a history ends with the process. Only its
            `initialize`, `append_message` and `sync_agent` are called.
        clock: Epoch seconds.
    """
    pin_library_loggers()
    email_otp = email_otp or EmailOtp.connect(settings)
    verifier = verifier or TokenVerifier(
        issuer=settings.issuer,
        client_id=settings.user_pool_client_id,
        keys=KeySet(lambda: fetch_jwks(settings.jwks_url), time.monotonic),
        clock=clock,
    )
    is_signed_in = is_signed_in or email_otp.login.is_signed_in
    model = model or _model(settings)
    verifying = Threads("verify", VERIFYING_THREADS, waiting=TURNS_AT_ONCE)
    histories = Threads("history", HISTORY_THREADS, waiting=TURNS_AT_ONCE)
    model_threads = ModelThreads()
    anonymous = Places(ANONYMOUS_AT_ONCE)
    members = Places(MEMBERS_AT_ONCE, each=A_MEMBERS_AT_ONCE)
    tools = email_otp_tools(email_otp)
    prompt_file = Path(__file__).parent / "service" / "prompts" / "system.md"
    system_prompt = prompt_file.read_text("utf-8").replace("{app_name}", settings.app_name)
    conversations = Sessions(
        Conversation, limit=MAX_SESSIONS, idle_seconds=SESSION_IDLE_SECONDS, clock=clock
    )

    def open_conversation(session_id: str, cognito_sub: str | None) -> Conversation:
        conversation = conversations.get(session_id)
        if conversation.agent is None:
            conversation.cognito_sub = cognito_sub
            conversation.agent = Agent(
                model=model,
                # Someone signed in has no sign-in to do.
                tools=[*(tools if cognito_sub is None else tools[-1:])],
                system_prompt=system_prompt,
                callback_handler=None,  # the default one prints to the terminal
            )
        if conversation.cognito_sub != cognito_sub:
            raise RequestError(
                403, "foreign_session", "This session is another's: start a new one."
            )
        if conversation.busy:
            raise RequestError(400, "session_busy", SESSION_BUSY)
        if cognito_sub is not None:
            conversations.keep(session_id, conversation, owner=cognito_sub)
        return conversation

    async def load_history(session_id: str, conversation: Conversation) -> None:
        agent, cognito_sub = conversation.agent, conversation.cognito_sub
        if session_manager is None or agent is None or conversation.history:
            return

        def load() -> SessionManager:
            # Not given to the agent, which would save a turn before it has ended well.
            history = session_manager(_history_id(session_id, cognito_sub))
            history.initialize(agent)
            return history

        conversation.busy = True
        try:
            conversation.history = await histories.run(load)
        finally:
            conversation.busy = False
        # What was being saved when an earlier process ended may lack its end.
        agent.messages[:] = _whole_turns(agent.messages)
        if agent.messages and cognito_sub is None:
            email_otp.login.expect_code_from_before(session_id)

    async def check_signed_in(access_token: str) -> None:
        try:
            signed_in = await email_otp.reads.run(lambda: is_signed_in(access_token))
        except (ClientError, BotoCoreError):
            raise KeysUnavailableError from None
        if not signed_in:
            raise TokenError("sub", "signed out, disabled or deleted")

    async def answer(
        session_id: str, conversation: Conversation, turn: Turn
    ) -> AsyncGenerator[bytes]:
        async with aclosing(_answer(conversation, turn, histories)) as chunks:
            async for chunk in chunks:
                yield f"data: {json.dumps(chunk, ensure_ascii=False, default=str)}\n\n".encode()
        if pending := email_otp.login.pending_code(session_id):
            conversations.keep(session_id, conversation, owner=pending.email)

    async def invoke(payload: object, context: RequestContext) -> Any:
        place: Place | None = None
        try:
            prompt, code = _parse(payload)
            # Of this very request: the context's own copy of the headers may be that of an earlier
            # request on the same connection.
            request = cast(Request, context.request)
            session_id = _session_id(request)
            access_token, cognito_sub = _bearer_token(request), None
            if access_token is None:
                place = anonymous.take()
            else:
                identity = await verifying.run(lambda: verifier.verify_access_token(access_token))
                cognito_sub = identity.cognito_sub
                place = members.take(cognito_sub)
                await check_signed_in(access_token)
            conversation = open_conversation(session_id, cognito_sub)
            await load_history(session_id, conversation)
            turn = email_otp.turn(
                session_id,
                prompt,
                code=code,
                cognito_sub=cognito_sub,
                locale=_locale(request),
            )
            # The library makes the loop, and lets nobody say what threads it has.
            asyncio.get_running_loop().set_default_executor(model_threads)
            return StreamedAnswer(answer(session_id, conversation, turn), place)
        except Exception as error:  # else its text would be the answer
            if place:
                place.leave()
            return _refusal(error).response()

    app = BedrockAgentCoreApp(middleware=[Middleware(LoopbackOnly), Middleware(BoundedJsonBody)])
    app.entrypoint(invoke)
    return app


class StreamedAnswer(StreamingResponse):
    """An answer whose turn runs on the event loop it is made on, and holds a place meanwhile."""

    def __init__(self, chunks: AsyncGenerator[bytes], place: Place) -> None:
        self._place = place
        content = from_loop(chunks, asyncio.get_running_loop(), place)
        # It may carry tokens: RFC 6749, section 5.1.
        headers = {"Cache-Control": "no-store"}
        super().__init__(content, headers=headers, media_type="text/event-stream")

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._place.leave()  # also where the browser went before the turn began


async def _answer(
    conversation: Conversation, turn: Turn, histories: Threads
) -> AsyncGenerator[Chunk]:
    """Stream one turn; one that did not end well leaves nothing in the history."""
    agent = conversation.agent
    if agent is None or conversation.busy:  # two requests were accepted before either began
        yield {"type": "error", "errorText": SESSION_BUSY}
        yield {"type": "finish"}
        return
    conversation.busy = True
    before = list(agent.messages)
    # Closed here and now, also when the browser goes away, so that the next turn finds the
    # agent free.
    events = aclosing(
        cast(
            AsyncGenerator[Any],
            agent.stream_async(
                turn.prompt,
                invocation_state=turn.invocation_state,
                limits={"turns": MAX_MODEL_CALLS_PER_TURN},
            ),
        )
    )
    try:
        async with events as raw_events, aclosing(ui_message_chunks(raw_events)) as chunks:
            async for chunk in chunks:
                yield chunk
    finally:
        try:
            agent.messages[:] = _whole_turns(agent.messages)
            await _save(conversation.history, agent, before, histories)
        finally:
            conversation.busy = False


def _history_id(session_id: str, cognito_sub: str | None) -> str:
    """Name a session's history after its owner too.

    Whose a session is, is forgotten with the process: the name keeps others out after that.
    """
    return hashlib.sha256(json.dumps([cognito_sub, session_id]).encode()).hexdigest()


def _whole_turns(messages: Messages) -> Messages:
    """Return the messages without turns that lack an answer's end."""
    turns: list[Messages] = []
    for message in messages:
        if not turns or (message["role"] == "user" and not _has(message["content"], "toolResult")):
            turns.append([])
        turns[-1].append(message)
    ends = [(turn, turn[-1]) for turn in turns]
    return [
        message
        for turn, end in ends
        if end["role"] == "assistant" and not _has(end["content"], "toolUse")
        for message in turn
    ]


def _has(content: list[ContentBlock], kind: str) -> bool:
    return any(kind in block for block in content)


async def _save(
    history: SessionManager | None, agent: Agent, before: Messages, histories: Threads
) -> None:
    """Store the turn's messages, if histories are stored."""
    known = {id(message) for message in before}
    new = [message for message in agent.messages if id(message) not in known]
    if history is None or not new:
        return

    def save() -> None:
        for message in new:
            history.append_message(message, agent)
        history.sync_agent(agent)

    try:
        await histories.run(save)
    except Exception as error:
        _log.error("history not saved", extra=describe(error))


def _parse(payload: object) -> tuple[str, str | None]:
    if not isinstance(payload, dict):
        raise _invalid('The body must be a JSON object: {"prompt": "...", "code": "..."}.')
    prompt, code = payload.get("prompt"), payload.get("code")
    if not isinstance(prompt, str):
        raise _invalid("`prompt` must be a string; it may be empty beside a `code`.")
    if code is not None and not isinstance(code, str):
        raise _invalid("`code` must be a string.")
    if len(prompt) > MAX_PROMPT_CHARS:
        raise _invalid(f"`prompt` has {len(prompt)} characters, at most {MAX_PROMPT_CHARS}.")
    if code is not None and len(code) > MAX_CODE_CHARS:
        raise _invalid(f"`code` has {len(code)} characters, at most {MAX_CODE_CHARS}.")
    try:
        f"{prompt}{code}".encode()
    except UnicodeEncodeError:
        raise _invalid("The text must be valid Unicode, without lone surrogates.") from None
    if not prompt.strip() and not code:
        raise _invalid("`prompt` is empty and there is no `code`.")
    return prompt, code or None


def _header(request: Request, name: str) -> str | None:
    """Return a header, or None; two of one name could be read two ways and are refused."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise _invalid(f"The header {name} was sent more than once.")
    return values[0] if values else None


def _session_id(request: Request) -> str:
    session_id = _header(request, SESSION_ID_HEADER) or ""
    if not MIN_SESSION_ID_CHARS <= len(session_id) <= MAX_SESSION_ID_CHARS:
        raise _invalid(
            f"The header {SESSION_ID_HEADER} must have "
            f"{MIN_SESSION_ID_CHARS} to {MAX_SESSION_ID_CHARS} characters."
        )
    return session_id


def _invalid(error: str) -> RequestError:
    return RequestError(400, "invalid_request", error)


def _bearer_token(request: Request) -> str | None:
    """Return the token the request carries, or None only if it carries none at all."""
    authorization = _header(request, "Authorization")
    if authorization is None:
        return None
    scheme, _, access_token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise TokenError("token", "not a bearer token")
    return access_token.strip()


def _refusal(error: Exception) -> RequestError:
    """Say why a request is not answered; of other errors than ours nothing is told."""
    match error:
        case RequestError():
            refusal = error
        case TokenError():
            _log.info("access token refused", extra={"claim": error.claim})
            access_tokens_refused.add(1, {"claim": error.claim})
            refusal = RequestError(
                401, "invalid_token", str(error), **{"WWW-Authenticate": error.www_authenticate}
            )
        case KeysUnavailableError():
            refusal = RequestError(503, "keys_unavailable", NOT_CHECKED)
        case BusyError():
            refusal = RequestError(503, "busy", BUSY, **{"Retry-After": str(RETRY_AFTER_SECONDS)})
        case _:
            _log.error("request failed", extra=describe(error))
            return RequestError(500, "internal_error", STREAM_FAILED)
    _log.info("request refused", extra={"outcome": refusal.code})
    return refusal


def _locale(request: Request) -> str | None:
    """Return the language the page asks mails in, or None."""
    locale = _header(request, LOCALE_HEADER) or ""
    return locale if LOCALE.fullmatch(locale) else None


class BoundedJsonBody:
    """Refuses a request body that is too large or no JSON, before the service parses it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, check it, and hand it on."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self._app(scope, receive, send)
        body, more = bytearray(), True
        while more and len(body) <= MAX_BODY_BYTES:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            refusal = _invalid(f"The body is larger than {MAX_BODY_BYTES} bytes.")
            return await refusal.response()(scope, receive, send)
        try:
            json.loads(body)
        except (ValueError, RecursionError):
            return await _invalid("The body is not JSON.").response()(scope, receive, send)
        replayed = False

        async def replay() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        return await self._app(scope, replay, send)


def _model(settings: Settings) -> Model:
    if settings.model_id is None:
        return OfflineModel()
    # Slow to import, and most runs need none.
    from strands.models.bedrock import DEFAULT_READ_TIMEOUT, BedrockModel

    return BedrockModel(
        model_id=settings.model_id,
        region_name=settings.region,
        boto_client_config=Config(
            read_timeout=DEFAULT_READ_TIMEOUT, max_pool_connections=TURNS_AT_ONCE
        ),
    )


def serve(app: BedrockAgentCoreApp, port: int) -> None:
    """Serve on the loopback address until stopped."""
    # The library's own handlers print session ids, which open anonymous chats, and a line on each
    # request, of which we log the refused ones ourselves.
    app.logger.handlers.clear()
    app.logger.setLevel(logging.ERROR)
    app.run(
        port=port,
        host="127.0.0.1",
        log_config=None,
        lifespan="off",  # of which it has none; else Ctrl-C logs a traceback
        # The library keeps what it reads of a request in context variables, and asyncio would hand
        # them on to the next request of the connection.
        reset_contextvars=True,
    )


def main() -> int:
    """Serve on the loopback address until stopped."""
    try:
        settings = load_settings(os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for who started it
        return 2
    log_to_stderr(logging.INFO)
    serve(create_app(settings), settings.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
