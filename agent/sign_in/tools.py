"""The three tools an agent signs guests in with, and what it may know of a visitor's message."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from strands import ToolContext, tool
from strands.types.tools import AgentTool

from agent.sign_in.capacity import (
    AN_ADDRESS_AT_ONCE,
    BUSY,
    CODE_ANSWER_THREADS,
    CODE_REQUEST_THREADS,
    READ_THREADS,
    RETRY_AFTER_SECONDS,
    TURNS_AT_ONCE,
    BusyError,
    Threads,
)
from agent.sign_in.guests import Guest, GuestStore
from agent.sign_in.login import EmailOtpLogin, connect
from agent.sign_in.observability import describe
from agent.sign_in.outcomes import CodeSent, ErrorCode, Refused, SignedIn
from agent.sign_in.sessions import Sessions
from agent.sign_in.settings import Settings
from agent.sign_in.visitor_input import (
    HiddenCode,
    address_fault,
    hide_code_field,
    hide_codes,
    parse_address,
    typed_addresses,
)

_log = logging.getLogger(__name__)

MAX_ADDRESSES_PER_SESSION = 3
_MAX_TYPED_ADDRESSES = 50
_NEXT_REQUEST_SECONDS = 30
_SESSION_LIMIT = 10_000
_SESSION_IDLE_SECONDS = 3600
_STATE_KEY = "email_otp_turn"

type ToolOutput = dict[str, Any]

NOT_TYPED = (
    "The visitor has not typed this address in this chat, as a word of its own. Ask for the whole "
    "address, with a blank before and after it; never guess."
)
UNKNOWN_REFERENCE = (
    "This is no code_reference of the visitor's latest message. Ask the visitor for the code."
)
ONE_REQUEST_A_TURN = "A code was already asked for in this turn. Tell the visitor about that one."
TOO_MANY_ADDRESSES = (
    "This chat has tried three addresses, which is the limit. One of those can be used again; "
    "another one only in a new chat, or an hour after the last message of this one."
)
NOT_SIGNED_IN = "Nobody is signed in. Ask for e-mail address and name to send a sign-in code."
NO_RECORD = "The visitor is signed in, but there is no guest record."


@dataclass(slots=True)
class _Visitor:
    """What one chat's visitor has typed and asked for so far."""

    typed: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)


@dataclass(slots=True, repr=False)
class _TurnState:
    """What the tools know of the request they run in; none of it comes from the model."""

    session_id: str
    cognito_sub: str | None
    locale: str | None
    visitor: _Visitor
    codes: dict[str, HiddenCode]
    code_requested: bool = False
    # A model may call several tools at once; the limits below count on one at a time.
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a visitor, ready for an agent.

    Attributes:
        prompt: The message without any code, for `agent.stream_async(prompt, ...)`.
        invocation_state: To be passed beside it; not for the model, the history or the stream.
    """

    prompt: str
    invocation_state: dict[str, Any] = field(repr=False)


class EmailOtp:
    """Signs the visitors of an agent in; makes the turns its tools work in.

    Args:
        login: The flow.
        guests: Where `get_guest_profile` reads.
        clock: Epoch seconds.

    Attributes:
        code_requests, code_answers, reads: Threads that the tools' calls run in.
        visitors: What each chat's visitor has typed.
    """

    def __init__(
        self, login: EmailOtpLogin, guests: GuestStore, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.login = login
        self.guests = guests
        self.code_requests = Threads(
            "request", CODE_REQUEST_THREADS, waiting=TURNS_AT_ONCE, each=AN_ADDRESS_AT_ONCE
        )
        self.code_answers = Threads(
            "answer", CODE_ANSWER_THREADS, waiting=TURNS_AT_ONCE, each=AN_ADDRESS_AT_ONCE
        )
        self.reads = Threads("read", READ_THREADS, waiting=TURNS_AT_ONCE)
        self.visitors = Sessions(
            _Visitor, limit=_SESSION_LIMIT, idle_seconds=_SESSION_IDLE_SECONDS, clock=clock
        )

    @classmethod
    def connect(cls, settings: Settings) -> "EmailOtp":
        """Make one on AWS clients."""
        return cls(*connect(settings))

    def turn(
        self,
        session_id: str,
        prompt: str,
        *,
        code: str | None = None,
        cognito_sub: str | None = None,
        locale: str | None = None,
    ) -> Turn:
        """Prepare a visitor's message for an agent that has `email_otp_tools`.

        Args:
            session_id: The chat, which nobody else may use.
            prompt: What the visitor typed.
            code: What the visitor entered in a code box.
            cognito_sub: The `sub` of a verified access token; None for an anonymous visitor.
            locale: Language of the guest's mails from this sign-in on, such as `de`.
        """
        visitor = self.visitors.get(session_id)
        visitor.typed = [*visitor.typed, *typed_addresses(prompt)][-_MAX_TYPED_ADDRESSES:]
        codes: dict[str, HiddenCode] = {}
        pending = self.login.expects_code(session_id)
        # A reload or a restart forgets the login, not the mail: a code may come in any chat.
        if pending or cognito_sub is None:
            prompt, hidden = hide_codes(prompt, pending=pending)
            codes |= hidden
        if code is not None:
            reference, hidden = hide_code_field(code)
            prompt = f"{prompt}\n{reference}".strip()
            codes |= hidden
        state = _TurnState(session_id, cognito_sub, locale, visitor, codes)
        return Turn(prompt, {_STATE_KEY: state})


def email_otp_tools(email_otp: EmailOtp) -> list[AgentTool]:
    """Return `initiate_cognito_login`, `verify_cognito_otp` and `get_guest_profile`.

    They work inside the turns that `email_otp.turn` makes:

        email_otp = EmailOtp.connect(load_settings(os.environ))
        agent = Agent(tools=email_otp_tools(email_otp), callback_handler=None)
        turn = email_otp.turn(session_id, prompt)
        events = agent.stream_async(turn.prompt, invocation_state=turn.invocation_state)
        async for chunk in ui_message_chunks(events): ...
    """

    @tool(context=True)
    async def initiate_cognito_login(  # noqa: D417 - a tool's docstring is its prompt
        tool_context: ToolContext, email: str = "", name: str = ""
    ) -> Any:
        """Send a sign-in code to the visitor's e-mail address.

        Call this when the visitor wants something personal, is not signed in and has typed an
        e-mail address; again when the code did not arrive or the address was wrong. Afterwards
        ask the visitor to enter the code. Never call it twice for one message.

        Args:
            email: The address exactly as the visitor typed it in this chat.
            name: The visitor's name, empty if not given.
        """
        return await _guarded(
            email_otp.code_requests,
            _initiate,
            email_otp,
            tool_context,
            email,
            name,
            owner=lambda _: parse_address(email) or "",
        )

    @tool(context=True)
    async def verify_cognito_otp(  # noqa: D417
        tool_context: ToolContext, code_reference: str = ""
    ) -> AsyncIterator[Any]:
        """Check the code the visitor has entered and sign the visitor in.

        The code itself is never shown: the visitor's message has `[code_reference: ...]` in
        its place. Call this once for each reference, right when it appears.

        Args:
            code_reference: The reference from the visitor's latest message.
        """

        def address_of(turn: _TurnState) -> str:
            pending = email_otp.login.pending_code(turn.session_id)
            return pending.email if pending else ""

        outcome = await _guarded(
            email_otp.code_answers,
            _verify,
            email_otp,
            tool_context,
            code_reference,
            owner=address_of,
        )
        if isinstance(outcome, SignedIn):
            yield outcome.token_delivery
            outcome = {
                "success": True,
                "guest_id": outcome.guest.guest_id,
                "name": outcome.guest.name,
                "message": "Signed in.",
            }
        # The last value is the tool's result, which the model, the history and traces hold.
        yield outcome

    @tool(context=True)
    async def get_guest_profile(tool_context: ToolContext) -> Any:
        """Read the signed-in visitor's own guest record.

        Call this whenever the visitor asks for something personal, such as a profile or
        bookings. It tells if nobody is signed in yet.
        """
        return await _guarded(email_otp.reads, _profile, email_otp, tool_context)

    return [initiate_cognito_login, verify_cognito_otp, get_guest_profile]


async def _guarded(
    threads: Threads,
    run: Callable[..., Any],
    email_otp: EmailOtp,
    context: ToolContext,
    *arguments: str,
    owner: Callable[[_TurnState], str] = lambda _: "",
) -> Any:
    """Run one tool's work in a thread; an exception reaches nobody as text."""
    try:
        turn: _TurnState = context.invocation_state[_STATE_KEY]
        async with turn.lock:
            return await threads.run(lambda: run(email_otp, turn, *arguments), owner=owner(turn))
    except BusyError:
        _log.info("tool refused", extra={"outcome": "busy"})
        return _error(
            Refused(ErrorCode.RATE_LIMITED, retry_after_seconds=RETRY_AFTER_SECONDS), BUSY
        )
    except Exception as error:
        _log.error("tool failed", extra=describe(error))
        return _error(Refused(ErrorCode.AUTH_SERVICE_ERROR))


def _initiate(email_otp: EmailOtp, turn: _TurnState, email: str, name: str) -> ToolOutput:
    address = parse_address(email)
    if address is None:
        return _error(Refused(ErrorCode.INVALID_EMAIL, address_fault=address_fault(email)))
    if address not in turn.visitor.typed:
        return _error(Refused(ErrorCode.INVALID_EMAIL), NOT_TYPED)
    if turn.code_requested:
        return _error(
            Refused(ErrorCode.RATE_LIMITED, retry_after_seconds=_NEXT_REQUEST_SECONDS),
            ONE_REQUEST_A_TURN,
        )
    if address not in turn.visitor.asked and len(turn.visitor.asked) >= MAX_ADDRESSES_PER_SESSION:
        return _error(Refused(ErrorCode.RATE_LIMITED), TOO_MANY_ADDRESSES)
    turn.code_requested = True
    turn.visitor.asked.add(address)
    outcome = email_otp.login.initiate(
        turn.session_id, email=address, name=name, locale=turn.locale
    )
    if isinstance(outcome, Refused):
        return _error(outcome)
    email_otp.visitors.keep(turn.session_id, turn.visitor, owner=address)
    return {"success": True, "status": "code_sent", **_code_sent(outcome)}


def _verify(email_otp: EmailOtp, turn: _TurnState, code_reference: str) -> SignedIn | ToolOutput:
    login = email_otp.login
    # Taken out, so that a model that calls again with the same reference burns no attempt.
    hidden = turn.codes.pop(code_reference.strip(), None)
    status = login.pending_code(turn.session_id)
    if hidden is None and status is not None:
        refused = Refused(ErrorCode.INVALID_OTP, attempts_left=status.attempts_left)
        return _error(refused, UNKNOWN_REFERENCE)
    digits = hidden.digits(status.code_length) if hidden and status else ""
    outcome = login.verify(turn.session_id, digits)
    return _error(outcome) if isinstance(outcome, Refused) else outcome


def _profile(email_otp: EmailOtp, turn: _TurnState) -> ToolOutput:
    if turn.cognito_sub is None:
        return {"success": True, "signed_in": False, "message": NOT_SIGNED_IN}
    guest = email_otp.guests.find(turn.cognito_sub)
    if guest is None:
        return {"success": True, "signed_in": True, "guest": None, "message": NO_RECORD}
    return {"success": True, "signed_in": True, "guest": _shown(guest)}


def _code_sent(sent: CodeSent) -> Mapping[str, Any]:
    return {
        "destination": sent.destination,
        "code_length": sent.code_length,
        "expires_in_seconds": sent.expires_in_seconds,
        "attempts_left": sent.attempts_left,
        "retry_after_seconds": sent.retry_after_seconds,
        "new_mail": sent.new_mail,
    }


def _shown(guest: Guest) -> Mapping[str, str]:
    return {
        "guest_id": guest.guest_id,
        "email": guest.email,
        "name": guest.name,
        "guest_since": _date(guest.created_at),
        "last_login_at": _date(guest.last_login_at),
    }


def _date(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _error(refused: Refused, message: str | None = None) -> ToolOutput:
    output: ToolOutput = {
        "success": False,
        "error_code": refused.error_code.value,
        "message": message or refused.message,
    }
    if refused.attempts_left is not None:
        output["attempts_left"] = refused.attempts_left
    if refused.retry_after_seconds is not None:
        output["retry_after_seconds"] = refused.retry_after_seconds
    return output
