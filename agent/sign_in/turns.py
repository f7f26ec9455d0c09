"""One message of a visitor: what the tools may know of it, and what each of them does."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3

from . import capacity, clients
from .capacity import BusyError, Threads
from .cognito import Cognito
from .guests import GuestStore
from .login import LoginFlow, PendingLogin
from .newcomers import Newcomers
from .observability import code_answers, code_requests, describe
from .outcomes import CodeSent, ErrorCode, GuestProfile, GuestRecord, Refused, SignedIn, name_of
from .sessions import Sessions
from .settings import Settings
from .visitor_input import HiddenCode, hide_code_field, hide_codes, parse_address, typed_addresses

_log = logging.getLogger(__name__)

MAX_ADDRESSES_PER_CHAT = 3
_MAX_TYPED_ADDRESSES = 50
_NEXT_REQUEST_SECONDS = 30
_CHATS_LIMIT = 10_000
_CHAT_IDLE_SECONDS = 3600
STATE_KEY = "email_otp_turn"
# A code may be typed all the same: one on its way, or from another chat or process. Such chats
# displace one another, and no others displace them.
_NO_CODE_SENT = ""

NOT_TYPED = (
    "The visitor has not typed this address in this chat, as a word of its own. Ask for the whole "
    "address, with a blank before and after it; never guess."
)
UNKNOWN_REFERENCE = (
    "This is no code_reference of the visitor's latest message. Ask the visitor for the code."
)
ONE_REQUEST_A_TURN = "A code was already asked for in this turn. Tell the visitor about that one."
TOO_MANY_ADDRESSES = (
    "This chat has tried three addresses, which is the limit. A code can be sent to one of them "
    "again; to another one only in a new chat, or an hour after the last message of this one."
)
NOT_SIGNED_IN = "Nobody is signed in. Ask for e-mail address and name to send a sign-in code."
NO_RECORD = "The visitor is signed in, but there is no guest record."


@dataclass(slots=True, repr=False)
class Chat:
    """What is remembered of one chat.

    Attributes:
        typed: The addresses its visitor has typed, the latest last.
        asked: Those of them that a code was asked for.
        login: Its sign-in.
    """

    typed: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    login: PendingLogin = field(default_factory=PendingLogin)


class EmailOtp:
    """Signs the visitors of an agent in; makes the turns its tools work in.

    Args:
        flow: The sign-in.
        guests: Where `get_guest_profile` reads.
        clock: Epoch seconds.

    Attributes:
        code_requests, code_answers, reads: Threads that the tools' calls run in.
        chats: What each chat has come to.
    """

    def __init__(
        self, flow: LoginFlow, guests: GuestStore, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.flow = flow
        self._clock = clock
        self.guests = guests
        per_owner = capacity.CALLS_PER_ADDRESS
        self.code_requests = Threads("request", capacity.CODE_REQUEST_THREADS, per_owner=per_owner)
        self.code_answers = Threads("answer", capacity.CODE_ANSWER_THREADS, per_owner=per_owner)
        self.reads = Threads("read", capacity.READ_THREADS)
        self.chats: Sessions[Chat] = Sessions(
            limit=_CHATS_LIMIT, idle_seconds=_CHAT_IDLE_SECONDS, clock=clock
        )

    @classmethod
    def connect(cls, settings: Settings, session: boto3.Session | None = None) -> "EmailOtp":
        """Make one on AWS clients.

        Args:
            settings: The deployment.
            session: Other credentials than the environment's.
        """
        client, dynamodb = clients.connect(settings, session)
        guests = GuestStore(dynamodb, settings.guests_table_name)
        cognito = Cognito(
            client,
            user_pool_id=settings.user_pool_id,
            client_id=settings.user_pool_client_id,
            newcomers=Newcomers(
                dynamodb, settings.guests_table_name, limit=settings.max_new_guests_per_hour
            ),
        )
        return cls(LoginFlow(cognito, guests), guests)

    def turn(
        self,
        session_id: str,
        prompt: str,
        *,
        code: str | None = None,
        cognito_sub: str | None = None,
        locale: str | None = None,
    ) -> "Turn":
        """Prepare a visitor's message for an agent that has `email_otp_tools`.

        Args:
            session_id: Names the chat, which nobody else may use.
            prompt: What the visitor typed.
            code: What the visitor entered in a code box.
            cognito_sub: The `sub` of a verified access token; None for an anonymous visitor.
            locale: Language of the guest's mails from this sign-in on, such as `de`.
        """
        chat = self.chats.get(session_id, Chat)
        chat.typed = [*chat.typed, *typed_addresses(prompt)][-_MAX_TYPED_ADDRESSES:]
        codes: dict[str, HiddenCode] = {}
        code_is_out = self._clock() < chat.login.codes_hidden_until
        # A reload or a restart forgets the login, not the mail: a code may come in any chat.
        if code_is_out or cognito_sub is None:
            prompt, hidden = hide_codes(prompt, code_is_out=code_is_out)
            codes |= hidden
        if code is not None:
            reference, hidden = hide_code_field(code)
            prompt = f"{prompt}\n{reference}".strip()
            codes |= hidden
        return Turn(prompt, codes, chat, self, session_id, cognito_sub, locale)

    def code_sent_to(self, session_id: str) -> str | None:
        """Return the address of the code that this chat's visitor is to enter, if there is one."""
        chat = self.chats.find(session_id)
        return chat.login.code.email if chat and chat.login.code else None

    def is_signed_in(self, access_token: str) -> bool:
        """Ask Cognito, at most once a minute and token, whether it still takes a verified token."""
        return self.flow.cognito.is_signed_in(access_token)

    def expect_code_from_before(self, session_id: str) -> None:
        """Treat digits as a code for a while, as an earlier process may have had one mailed."""
        chat = self.chats.get(session_id, Chat)
        chat.login.hide_codes_until(self._clock())
        self.keep(session_id, chat)

    def keep(self, session_id: str, chat: Chat) -> None:
        """Remember a chat whose visitor may type a code, whatever others do."""
        owner = chat.login.code.email if chat.login.code else _NO_CODE_SENT
        self.chats.keep(session_id, chat, owner=owner)


class Turn:
    """One message of a visitor, ready for an agent; made by `EmailOtp.turn`.

    No dataclass, so that what walks the fields of those, as a trace's exporter may, finds nothing.

    Args:
        prompt: The message without any code, for `agent.stream_async(prompt, ...)`.
        codes: What the references in it stand for.
    """

    def __init__(
        self,
        prompt: str,
        codes: dict[str, HiddenCode],
        chat: Chat,
        email_otp: EmailOtp,
        session_id: str,
        cognito_sub: str | None,
        locale: str | None,
    ) -> None:
        self.prompt = prompt
        self._codes = codes
        self._chat = chat
        self._email_otp = email_otp
        self._session_id = session_id
        self._cognito_sub = cognito_sub
        self._locale = locale
        self._code_requested = False
        # A model may call several tools at once; the limits count on one at a time.
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Turn(prompt={self.prompt!r})"

    @property
    def invocation_state(self) -> dict[str, Any]:
        """Return what to pass beside the prompt; not for the model, the history or the stream."""
        return {STATE_KEY: self}

    async def request_code(self, email: str, name: str) -> CodeSent | Refused:
        """Have a code mailed to an address that the visitor has typed."""
        async with self._lock:
            address = parse_address(email)
            outcome = await self._run(
                self._email_otp.code_requests,
                lambda: self._request_code(address, name) if address else Refused.address(email),
                owner=address or "",
            )
        code_requests.add(1, {"outcome": name_of(outcome)})
        return outcome

    def _request_code(self, address: str, name: str) -> CodeSent | Refused:
        chat = self._chat
        if address not in chat.typed:
            return Refused(error_code=ErrorCode.INVALID_EMAIL, message=NOT_TYPED)
        if self._code_requested:
            return Refused(
                error_code=ErrorCode.RATE_LIMITED,
                message=ONE_REQUEST_A_TURN,
                retry_after_seconds=_NEXT_REQUEST_SECONDS,
            )
        if address not in chat.asked and len(chat.asked) >= MAX_ADDRESSES_PER_CHAT:
            return Refused(error_code=ErrorCode.RATE_LIMITED, message=TOO_MANY_ADDRESSES)
        self._code_requested = True
        chat.asked.add(address)
        try:
            return self._email_otp.flow.request_code(
                chat.login, email=address, name=name, locale=self._locale
            )
        finally:
            self._email_otp.keep(self._session_id, chat)

    async def answer_code(self, code_reference: str) -> SignedIn | Refused:
        """Check the code that a reference in the prompt stands for."""
        async with self._lock:
            code = self._chat.login.code
            outcome = await self._run(
                self._email_otp.code_answers,
                lambda: self._answer_code(code_reference),
                owner=code.email if code else "",
            )
        code_answers.add(1, {"outcome": name_of(outcome)})
        return outcome

    def _answer_code(self, code_reference: str) -> SignedIn | Refused:
        # Taken out, so that a model that calls again with the same reference burns no attempt.
        hidden = self._codes.pop(code_reference.strip(), None)
        code = self._chat.login.code
        if hidden is None and code is not None:
            return Refused(
                error_code=ErrorCode.INVALID_OTP,
                message=UNKNOWN_REFERENCE,
                attempts_left=code.attempts_left,
            )
        digits = hidden.digits(code.code_length) if hidden and code else ""
        return self._email_otp.flow.answer_code(self._chat.login, digits)

    async def read_profile(self) -> GuestProfile | Refused:
        """Read the record of whom the request's access token names."""
        async with self._lock:
            return await self._run(self._email_otp.reads, self._read_profile)

    def _read_profile(self) -> GuestProfile:
        if self._cognito_sub is None:
            return GuestProfile(signed_in=False, message=NOT_SIGNED_IN)
        guest = self._email_otp.guests.find(self._cognito_sub)
        if guest is None:
            return GuestProfile(signed_in=True, message=NO_RECORD)
        return GuestProfile(signed_in=True, guest=GuestRecord.of(guest))

    async def _run[T](
        self, threads: Threads, action: Callable[[], T], *, owner: str = ""
    ) -> T | Refused:
        """Act in a thread; an exception reaches nobody as text."""
        try:
            return await threads.run(action, owner=owner)
        except BusyError:
            _log.info("tool refused", extra={"outcome": "busy"})
            return Refused(
                error_code=ErrorCode.RATE_LIMITED,
                message=capacity.BUSY,
                retry_after_seconds=capacity.RETRY_AFTER_SECONDS,
            )
        except Exception as error:
            return failed(error)


def failed(error: Exception) -> Refused:
    """Log an exception, and say no more than that something failed."""
    _log.error("tool failed", extra=describe(error))
    return Refused(error_code=ErrorCode.AUTH_SERVICE_ERROR)
