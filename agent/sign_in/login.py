"""One chat's sign-in: which code it waits for, and what each request and answer makes of that."""

import logging
import math
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jwt
from botocore.exceptions import BotoCoreError, ClientError

from .client_only import ClientOnly
from .cognito import Cognito, PendingCode, refused_call
from .decoys import COOLDOWN_SECONDS
from .guests import GuestStore
from .newcomers import HOUR_SECONDS
from .observability import describe
from .outcomes import CodeSent, ErrorCode, Refused, SignedIn, TokenDeliveryEvent, name_of
from .visitor_input import LONG_CODE_DIGITS, parse_address

_log = logging.getLogger(__name__)

CODES_HIDDEN_AFTER_SECONDS = 600
"""How long after a login's end digits in a visitor's messages still count as a code."""

_MAX_NAME_CHARS = 100


@dataclass(slots=True, repr=False)
class PendingLogin:
    """What is remembered of one chat's sign-in; the lock makes answers come one by one.

    Attributes:
        code: What may be answered, if anything.
        email: Whom the last code was asked for; empty after a sign-in.
        name: What that visitor gave as their name.
        expires_at: Of the last code that was sent to them, epoch seconds.
        next_mail_at: When a new mail may go, as far as the triggers have said; epoch seconds.
        codes_hidden_until: Epoch seconds.
    """

    code: PendingCode | None = None
    email: str = ""
    name: str = ""
    expires_at: int = 0
    next_mail_at: float = 0
    codes_hidden_until: float = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def forget(self, email: str = "") -> None:
        """Begin anew, for this address."""
        self.code, self.email, self.name = None, email, ""
        self.expires_at, self.next_mail_at = 0, 0

    def hide_codes_until(self, ends_at: float) -> None:
        """Treat digits as a code until the login has ended, and a while longer."""
        self.codes_hidden_until = max(self.codes_hidden_until, ends_at + CODES_HIDDEN_AFTER_SECONDS)


class LoginFlow:
    """Drives Cognito's `CUSTOM_AUTH` for the visitors of many chats.

    Args:
        cognito: The pool.
        guests: Where a guest's record is kept.
        clock: Epoch seconds.
    """

    def __init__(
        self, cognito: Cognito, guests: GuestStore, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.cognito = cognito
        self._guests = guests
        self._clock = clock

    def request_code(
        self, login: PendingLogin, *, email: str, name: str = "", locale: str | None = None
    ) -> CodeSent | Refused:
        """Have a code mailed; a login already pending in this chat is replaced.

        Args:
            login: The chat's.
            email: As typed; who exists is never told from the outcome.
            name: For the guest record; kept here until the code is right.
            locale: Language of the guest's mails from this sign-in on, such as `de`.
        """
        address = parse_address(email)
        if address is None:
            return Refused.address(email)
        with login.lock:
            if login.email != address:
                login.forget(address)
            login.name = _tidy(name) or login.name
            # Set before the call: a mail may be on its way even if the call fails.
            login.hide_codes_until(self._clock())
            correlation_id = uuid.uuid4().hex
            logged = {"correlation_id": correlation_id}
            try:
                used_up = self.cognito.make_user(
                    address, locale=locale, correlation_id=correlation_id
                )
                asked = self.cognito.request_code(
                    address, locale=locale, correlation_id=correlation_id
                )
            except (ClientError, BotoCoreError) as error:
                refused = refused_call(error)
                _log.warning(
                    "code request failed",
                    extra=logged | describe(error) | {"outcome": name_of(refused)},
                )
                return refused
            login.next_mail_at = self._clock() + (asked.retry_after_seconds or 0)
            if isinstance(asked, Refused):
                login.code = None
                _log.info("code request refused", extra=logged | {"outcome": name_of(asked)})
                return asked
            busy = used_up or asked.busy
            sent = CodeSent(
                destination=_mask(address),
                code_length=asked.code_length,
                expires_in_seconds=max(0, asked.expires_at - int(self._clock())),
                attempts_left=asked.attempts_left,
                retry_after_seconds=asked.retry_after_seconds,
                # Of two requests within a second, both have the whole cooldown left.
                new_mail=asked.retry_after_seconds == COOLDOWN_SECONDS
                and asked.expires_at != login.expires_at,
                busy=busy,
                try_again_in_minutes=_minutes_left(self._clock()) if busy else None,
            )
            login.code, login.expires_at = asked, asked.expires_at
            login.hide_codes_until(asked.expires_at)
            _log.info("code requested", extra=logged | {"outcome": name_of(sent)})
            return sent

    def answer_code(self, login: PendingLogin, digits: str) -> SignedIn | Refused:
        """Answer the pending code once.

        Args:
            login: The chat's.
            digits: ASCII digits. As many as no code of this login has cost no attempt; the newest
                mail may have brought a long one.
        """
        with login.lock:
            code = login.code
            if code is None:
                return self._over(login, ErrorCode.NO_LOGIN_PENDING)
            if len(digits) not in (code.code_length, LONG_CODE_DIGITS):
                return Refused(
                    error_code=ErrorCode.INVALID_OTP,
                    message=f"The code has {code.code_length} digits.",
                    attempts_left=code.attempts_left,
                )
            logged = {"correlation_id": code.correlation_id}
            login.code = None
            try:
                answered = self.cognito.answer_code(code, digits)
            except (ClientError, BotoCoreError) as error:
                refused = self.cognito.refused_answer(error, code)
                if refused.error_code in (ErrorCode.AUTH_SERVICE_ERROR, ErrorCode.RATE_LIMITED):
                    login.code = code
                else:
                    refused = self._over(login, refused.error_code)
                _log.warning(
                    "answer failed", extra=logged | describe(error) | {"outcome": name_of(refused)}
                )
                return refused
            outcome: SignedIn | Refused
            if isinstance(answered, PendingCode):
                login.code, left = answered, answered.attempts_left
                login.hide_codes_until(answered.expires_at)
                outcome = Refused(error_code=ErrorCode.INVALID_OTP, attempts_left=left)
            elif isinstance(answered, Refused):
                outcome = self._over(login, answered.error_code)
            else:
                outcome = self._sign_in(login, code, answered)
            _log.info("code answered", extra=logged | {"outcome": name_of(outcome)})
            return outcome

    def _over(self, login: PendingLogin, why: ErrorCode) -> Refused:
        """Say of a login that is over from when there may be another mail."""
        wait = math.ceil(login.next_mail_at - self._clock())
        return Refused(error_code=why, retry_after_seconds=wait if wait > 0 else None)

    def _sign_in(
        self, login: PendingLogin, code: PendingCode, tokens: dict[str, Any]
    ) -> SignedIn | Refused:
        # Straight from Cognito over TLS, which stands in for the signature here: OpenID Connect
        # Core, 3.1.3.7, rule 6. Tokens that a browser sends are verified in identity.py.
        claims = jwt.decode(tokens["IdToken"], options={"verify_signature": False})
        try:
            guest = self._guests.record_login(
                claims["sub"], email=claims.get("email", code.email), name=login.name
            )
        except Exception as error:  # whatever it was, the tokens are out and must not stay valid
            _log.error(
                "guest record not stored",
                extra=describe(error) | {"correlation_id": code.correlation_id},
            )
            self.cognito.revoke(tokens["RefreshToken"], code.correlation_id)
            return self._over(login, ErrorCode.GUEST_CREATION_FAILED)
        login.forget()
        delivery = TokenDeliveryEvent(
            id_token=tokens["IdToken"],
            access_token=tokens["AccessToken"],
            refresh_token=tokens["RefreshToken"],
            expires_in=tokens["ExpiresIn"],
            guest_id=guest.guest_id,
            email=guest.email,
            cognito_sub=guest.cognito_sub,
        )
        return SignedIn(
            guest_id=guest.guest_id, name=guest.name, token_delivery=ClientOnly(delivery.output())
        )


def _tidy(name: str) -> str:
    """Return a typed name on one line, without invisible characters, at most 100 long."""
    printable = "".join(c if c.isprintable() else " " for c in name)
    return " ".join(printable.split())[:_MAX_NAME_CHARS]


def _minutes_left(now: float) -> int:
    """Return in how many whole minutes the clock hour has ended: at least one."""
    return math.ceil((HOUR_SECONDS - now % HOUR_SECONDS) / 60)


def _mask(address: str) -> str:
    """Shorten an address to what its owner recognises: `ada@example.com` is `a***@e***.com`.

    Not taken from the challenge, so that a decoy cannot differ.
    """
    local, _, domain = address.partition("@")
    host, _, top_level = domain.rpartition(".")
    return f"{local[0]}***@{host[0]}***.{top_level}"
