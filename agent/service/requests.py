"""What the service takes from a browser, and how it refuses the rest.

A refusal before the stream is JSON, `{"error": <sentence>, "code": <one of the codes below>}`:
400 `invalid_request`, `session_busy`; 401 `invalid_token` with `WWW-Authenticate`;
403 `foreign_session`, `not_loopback`; 413 `invalid_request`; 500 `internal_error`;
503 `keys_unavailable`, `busy` with `Retry-After`. Hosted it is sent as `refusal_streams` says.
"""

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.sign_in import capacity
from agent.sign_in.capacity import BusyError, Place, Places, Threads
from agent.sign_in.identity import KeysUnavailableError, TokenError, TokenVerifier
from agent.sign_in.observability import access_tokens_refused, describe
from agent.sign_in.stream import STREAM_FAILED

_log = logging.getLogger(__name__)

NOT_CHECKED = "The sign-in cannot be checked right now. Please try again."
MAX_BODY_BYTES = 65_536
MAX_DROPPED_BYTES, DROPPING_SECONDS = 16 * 1024 * 1024, 30
"""How much more of an over-long body is read, and how long, so that its sender reads why."""
VERIFYING_THREADS = 64
"""For tokens: those under unknown key ids wait for the key endpoint, 3 s if it hangs."""
MAX_PROMPT_CHARS = 8_000
MAX_CODE_CHARS = 64
# The bounds AgentCore sets for a runtime session id.
MIN_SESSION_ID_CHARS, MAX_SESSION_ID_CHARS = 33, 256
SESSION_ID_HEADER = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"
LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")


class RequestError(Exception):
    """A request that is not answered with a stream."""

    def __init__(self, status: int, code: str, error: str, **headers: str) -> None:
        super().__init__(error)
        self.code = code
        self.response = JSONResponse({"error": error, "code": code}, status, headers=headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One message of a visitor, as its request brought it.

    Attributes:
        code: What was entered in the code box, if anything.
        access_token: None only if the request carries none at all.
        locale: The language the page asks mails in, or None.
    """

    session_id: str
    prompt: str = field(repr=False)
    code: str | None = field(repr=False)
    access_token: str | None = field(repr=False)
    locale: str | None

    @classmethod
    def read(cls, payload: object, request: Request) -> Self:
        """Read and bound a request.

        Raises:
            RequestError: It is not one.
            TokenError: It carries an authorization that is no bearer token.
        """
        if not isinstance(payload, dict):
            raise _invalid('The body must be a JSON object: {"prompt": "...", "code": "..."}.')
        prompt, code = _said(payload)
        return cls(
            prompt=prompt,
            code=code,
            session_id=_session_id(request),
            access_token=_bearer_token(request),
            locale=_locale(payload),
        )


class Admission:
    """Decides whose request is answered, and gives it a place.

    Args:
        verifier: Verifies access tokens.
        is_signed_in: Whether Cognito still takes a verified token; it blocks.
        reads: Threads that it is asked in.
    """

    def __init__(
        self, verifier: TokenVerifier, is_signed_in: Callable[[str], bool], *, reads: Threads
    ) -> None:
        self._verifier = verifier
        self._is_signed_in = is_signed_in
        self._reads = reads
        self._verifying = Threads("verify", VERIFYING_THREADS)
        self._anonymous = Places(capacity.ANONYMOUS_AT_ONCE)
        self._members = Places(capacity.MEMBERS_AT_ONCE, per_owner=capacity.TURNS_PER_MEMBER)

    async def admit(self, access_token: str | None) -> tuple[str | None, Place]:
        """Return the `sub` of the member whose token it is, or None, and the place.

        Raises:
            TokenError: The token is not valid, or its guest signed out, was disabled or deleted.
            KeysUnavailableError: That cannot be told now.
            BusyError: No place is free.
        """
        if access_token is None:
            return None, self._anonymous.take()
        verify = self._verifier.verify_access_token
        cognito_sub = await self._verifying.run(lambda: verify(access_token))
        place = self._members.take(cognito_sub)
        try:
            if not await self._reads.run(lambda: self._is_signed_in(access_token)):
                raise TokenError("sub", "signed out, disabled or deleted")
        except BaseException as error:
            place.leave()
            if isinstance(error, ClientError | BotoCoreError):
                raise KeysUnavailableError from None
            raise
        return cognito_sub, place


def _said(payload: Mapping[str, Any]) -> tuple[str, str | None]:
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


def _locale(payload: Mapping[str, Any]) -> str | None:
    """Return the language the page asks mails in, or None: a sign-in does not fail over it."""
    locale = payload.get("locale")
    return locale if isinstance(locale, str) and LOCALE.fullmatch(locale) else None


def refusal_of(error: Exception) -> RequestError:
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
            wait = {"Retry-After": str(capacity.RETRY_AFTER_SECONDS)}
            refusal = RequestError(503, "busy", capacity.BUSY, **wait)
        case _:
            _log.error("request failed", extra=describe(error))
            return RequestError(500, "internal_error", STREAM_FAILED)
    _log.info("request refused", extra={"outcome": refusal.code})
    return refusal


async def _refuse_too_large(receive: Receive, send: Send, *, more: bool) -> None:
    """Answer 413 and read on: closed at once, the connection would lose the answer.

    https://www.rfc-editor.org/rfc/rfc9112#section-9.6
    """
    error = f"The body is larger than {MAX_BODY_BYTES} bytes."
    refusal = RequestError(413, "invalid_request", error).response
    await send({"type": "http.response.start", "status": 413, "headers": refusal.raw_headers})
    await send({"type": "http.response.body", "body": refusal.body, "more_body": True})
    dropped = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DROPPING_SECONDS):
            while more and dropped < MAX_DROPPED_BYTES:
                message = await receive()
                dropped += len(message.get("body", b""))
                more = message.get("more_body", False)
    await send({"type": "http.response.body", "body": b""})


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
            return await _refuse_too_large(receive, send, more=more)
        try:
            json.loads(body)
        except (ValueError, RecursionError):
            return await _invalid("The body is not JSON.").response(scope, receive, send)
        replayed = False

        async def replay() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        return await self._app(scope, replay, send)
