"""One sign-in with an e-mailed code: asks Cognito for the code and answers its challenge.

Cognito's `Session` and the tokens never leave this module, except sealed in a `ClientOnly`.
"""

from __future__ import annotations

import hashlib
import logging
import math
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import boto3
import jwt
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from agent.sign_in.capacity import CODE_ANSWER_THREADS, CODE_REQUEST_THREADS, READ_THREADS
from agent.sign_in.decoys import COOLDOWN_SECONDS, Decoys
from agent.sign_in.guests import GuestStore
from agent.sign_in.observability import code_answers, code_requests, describe, pin_library_loggers
from agent.sign_in.outcomes import CodeSent, ErrorCode, PendingCode, Refused, SignedIn, name_of
from agent.sign_in.sessions import Sessions
from agent.sign_in.settings import Settings
from agent.sign_in.stream import ClientOnly
from agent.sign_in.visitor_input import address_fault, parse_address

if TYPE_CHECKING:
    from types_boto3_cognito_idp import CognitoIdentityProviderClient

_log = logging.getLogger(__name__)

DELIVERY_FAILED_TEXT = "ERR_EMAIL_DELIVERY_FAILED"
"""What the Create trigger raises when the mail could not be sent; Cognito wraps it."""

CODES_HIDDEN_AFTER_SECONDS = 600
"""How long after a login's end digits in a visitor's messages still count as a code."""

_THROTTLED_RETRY_SECONDS = 30
_MAX_NAME_CHARS = 100
_DEFAULT_CODE = (3, 300, 6)  # attempts, life in seconds, digits: the stack's defaults
_PENDING_LIMIT = 10_000
_PENDING_IDLE_SECONDS = 3600
_TOLD_SECONDS = 60
_CALLS_AT_ONCE = READ_THREADS + CODE_REQUEST_THREADS + CODE_ANSWER_THREADS

_THROTTLING = {"TooManyRequestsException", "LimitExceededException", "ThrottlingException"}

_EXISTS = {"UsernameExistsException", "AliasExistsException"}

# Cognito's ways of saying that this user may not sign in. A visitor must not learn that.
_NOT_ALLOWED = {
    "NotAuthorizedException",
    "UserNotFoundException",
    "UserNotConfirmedException",
    "PasswordResetRequiredException",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Challenge:
    """A code that was asked for. Without a `session` it is a decoy that no answer meets."""

    email: str
    name: str
    locale: str | None
    username: str
    session: str | None = field(repr=False)
    code_length: int
    expires_at: int
    attempts_left: int
    retry_after_seconds: int
    correlation_id: str


@dataclass(slots=True)
class _PendingLogin:
    """What is remembered of one chat's sign-in; the lock makes answers come one by one.

    Attributes:
        challenge: What may be answered.
        ended: Else the last one, if it ended without a sign-in.
        next_mail_at: When a new mail may go, as far as the triggers have said; epoch seconds.
        codes_hidden_until: Epoch seconds.
    """

    challenge: _Challenge | None = None
    ended: _Challenge | None = None
    next_mail_at: float = 0
    codes_hidden_until: float = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(slots=True, weakref_slot=True)
class _Creation:
    """A user who is being created, shared by those who ask at the same time."""

    done: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(slots=True)
class _Told:
    """Whether Cognito takes a token, and until when, epoch seconds, it is not asked again."""

    signed_in: bool = False
    until: float = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class EmailOtpLogin:
    """Drives `AdminInitiateAuth(CUSTOM_AUTH)` for the visitors of many chats.

    Args:
        cognito: A client that tries each call once; see `connect`.
        guests: Where a guest's record is kept.
        user_pool_id: The pool.
        client_id: Its app client, one without a secret.
        clock: Epoch seconds.
    """

    def __init__(
        self,
        cognito: CognitoIdentityProviderClient,
        guests: GuestStore,
        *,
        user_pool_id: str,
        client_id: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cognito = cognito
        self._guests = guests
        self._user_pool_id = user_pool_id
        self._client_id = client_id
        self._clock = clock
        self._decoys = Decoys(clock)
        self._told = Sessions(_Told, limit=_PENDING_LIMIT, idle_seconds=_TOLD_SECONDS, clock=clock)
        self._usual_code: tuple[int, int, int] | None = None
        self._creating: WeakValueDictionary[str, _Creation] = WeakValueDictionary()
        self._creating_lock = threading.Lock()
        self._pending = Sessions(
            _PendingLogin, limit=_PENDING_LIMIT, idle_seconds=_PENDING_IDLE_SECONDS, clock=clock
        )

    def expects_code(self, session_id: str) -> bool:
        """Whether digits this visitor types now may be a code."""
        return self._clock() < self._known(session_id).codes_hidden_until

    def expect_code_from_before(self, session_id: str) -> None:
        """Treat digits as a code for a while, as an earlier process may have had one mailed."""
        self._hide_codes_until(self._pending.get(session_id), self._clock())

    def pending_code(self, session_id: str) -> PendingCode | None:
        """Return what code this chat's visitor is to enter, or None if no login is pending."""
        challenge = self._known(session_id).challenge
        if challenge is None:
            return None
        return PendingCode(challenge.email, challenge.code_length, challenge.attempts_left)

    def initiate(
        self, session_id: str, *, email: str, name: str = "", locale: str | None = None
    ) -> CodeSent | Refused:
        """Have a code mailed; a login already pending in this chat is replaced.

        Args:
            session_id: The chat.
            email: As typed; who exists is never told from the outcome.
            name: For the guest record; kept here until the code is right.
            locale: Language of the guest's mails from this sign-in on, such as `de`.
        """
        outcome = self._initiate(session_id, email, name, locale)
        code_requests.add(1, {"outcome": name_of(outcome)})
        return outcome

    def _initiate(
        self, session_id: str, email: str, name: str, locale: str | None
    ) -> CodeSent | Refused:
        address = parse_address(email)
        if address is None:
            return Refused(ErrorCode.INVALID_EMAIL, address_fault=address_fault(email))
        pending = self._pending.get(session_id)
        with pending.lock:
            before = pending.challenge or pending.ended
            if before is None or before.email != address:
                before = pending.challenge = pending.ended = None
                pending.next_mail_at = 0
            # Set before the call: a mail may be on its way even if the call fails.
            self._hide_codes_until(pending, self._clock())
            correlation_id = uuid.uuid4().hex
            logged = {"correlation_id": correlation_id}
            try:
                self._make_user(address, locale)
                known_name = before.name if before else ""
                challenge = self._ask_for_code(
                    address, _tidy(name) or known_name, locale, correlation_id
                )
            except (ClientError, BotoCoreError) as error:
                refused = _refusal(error)
                _log.warning(
                    "code request failed",
                    extra=logged | describe(error) | {"outcome": name_of(refused)},
                )
                return refused
            pending.next_mail_at = self._clock() + (challenge.retry_after_seconds or 0)
            if isinstance(challenge, Refused):
                pending.challenge, pending.ended = None, before
                _log.info("code request refused", extra=logged | {"outcome": name_of(challenge)})
                return challenge
            pending.challenge, pending.ended = challenge, None
            self._hide_codes_until(pending, challenge.expires_at)
            self._pending.keep(session_id, pending, owner=address)
            known = before and before.expires_at == challenge.expires_at
            sent = CodeSent(
                destination=_mask(address),
                code_length=challenge.code_length,
                expires_in_seconds=max(0, challenge.expires_at - int(self._clock())),
                attempts_left=challenge.attempts_left,
                retry_after_seconds=challenge.retry_after_seconds,
                # Of two requests within a second, both have the whole cooldown left.
                new_mail=challenge.retry_after_seconds == COOLDOWN_SECONDS and not known,
            )
            _log.info("code requested", extra=logged | {"outcome": name_of(sent)})
            return sent

    def verify(self, session_id: str, code: str) -> SignedIn | Refused:
        """Answer the pending challenge once.

        Args:
            session_id: The chat.
            code: ASCII digits. One of another length than the code was never mailed and costs
                no attempt.
        """
        outcome = self._verify(session_id, code)
        code_answers.add(1, {"outcome": name_of(outcome)})
        return outcome

    def _verify(self, session_id: str, code: str) -> SignedIn | Refused:
        pending = self._known(session_id)
        with pending.lock:
            challenge = pending.challenge
            if challenge is None:
                return self._over(pending, Refused(ErrorCode.NO_LOGIN_PENDING))
            if len(code) != challenge.code_length:
                return Refused(ErrorCode.INVALID_OTP, attempts_left=challenge.attempts_left)
            logged = {"correlation_id": challenge.correlation_id}
            pending.challenge = None
            try:
                outcome = self._answer(challenge, code)
            except (ClientError, BotoCoreError) as error:
                refused = self._refused_answer(error, challenge)
                if refused.error_code in (ErrorCode.AUTH_SERVICE_ERROR, ErrorCode.RATE_LIMITED):
                    pending.challenge = challenge
                else:
                    pending.ended = challenge
                    refused = self._over(pending, refused)
                _log.warning(
                    "answer failed", extra=logged | describe(error) | {"outcome": name_of(refused)}
                )
                return refused
            if isinstance(outcome, _Challenge):
                pending.challenge = outcome
                outcome = Refused(ErrorCode.INVALID_OTP, attempts_left=outcome.attempts_left)
            elif isinstance(outcome, Refused):
                pending.ended = challenge
                outcome = self._over(pending, outcome)
            else:
                pending.next_mail_at = 0
            _log.info("code answered", extra=logged | {"outcome": name_of(outcome)})
            return outcome

    def is_signed_in(self, access_token: str) -> bool:
        """Ask Cognito, at most once a minute and token, whether it still takes the token.

        It does not if the guest has signed out, was disabled or deleted; the token itself
        verifies until it expires.

        Args:
            access_token: One that has been verified.

        Raises:
            ClientError, BotoCoreError: Cognito could not tell.
        """
        told = self._told.get(hashlib.sha256(access_token.encode()).hexdigest())
        with told.lock:
            if self._clock() < told.until:
                return told.signed_in
            try:
                self._cognito.get_user(AccessToken=access_token)
                told.signed_in = True
            except ClientError as error:
                if _aws_code(error) not in _NOT_ALLOWED:
                    raise
                told.signed_in = False
            told.until = self._clock() + _TOLD_SECONDS
            return told.signed_in

    def _make_user(self, email: str, locale: str | None) -> None:
        """Create the user if there is none, without any mail of Cognito's own."""
        attributes = {"email": email, "email_verified": "false"}
        if locale:
            attributes["locale"] = locale
        with self._creating_lock:
            creation = self._creating.setdefault(email, _Creation())
        # One at a time: of two calls in the same instant Cognito has been seen to keep both users
        # and refuse the later one's alias, github.com/ustaxcourt/ef-cms/pull/5260.
        with creation.lock:
            if creation.done:
                return
            try:
                created = self._cognito.admin_create_user(
                    UserPoolId=self._user_pool_id,
                    Username=email,
                    MessageAction="SUPPRESS",
                    UserAttributes=[{"Name": k, "Value": v} for k, v in attributes.items()],
                )
            except ClientError as error:
                if _aws_code(error) not in _EXISTS:
                    raise
                created = None
            creation.done = True
        if created is None:
            return
        # Else the temporary password expires and may take the account with it. Nobody ever
        # learns this one; the suffix meets any password policy. If this call fails, the guest
        # asks again and signs in all the same: custom auth asks for no password. She keeps the
        # temporary one then, as to find that out would cost every sign-in a call.
        self._cognito.admin_set_user_password(
            UserPoolId=self._user_pool_id,
            Username=created["User"]["Username"],
            Password=f"{secrets.token_urlsafe(32)}aA1!",
            Permanent=True,
        )

    def _ask_for_code(
        self, email: str, name: str, locale: str | None, correlation_id: str
    ) -> _Challenge | Refused:
        try:
            response = self._cognito.admin_initiate_auth(
                UserPoolId=self._user_pool_id,
                ClientId=self._client_id,
                AuthFlow="CUSTOM_AUTH",
                AuthParameters={"USERNAME": email},
            )
        except ClientError as error:
            if _aws_code(error) not in _NOT_ALLOWED:
                raise
            _log.info(
                "user may not sign in", extra=describe(error) | {"correlation_id": correlation_id}
            )
            response = None
        # A decoy looks like the codes seen so far. The largest, since a code that a session joins
        # has less of its life left, and one after many wrong answers has one attempt.
        attempts, life_seconds, code_length = self._usual_code or _DEFAULT_CODE
        now = int(self._clock())
        if response:
            parameters = response["ChallengeParameters"]
        else:
            decoy = self._decoys.ask(email, life_seconds=life_seconds)
            parameters = {
                "status": "throttled" if decoy.expires_at is None else "sent",
                "expires_at": str(decoy.expires_at),
                "retry_after_seconds": str(decoy.retry_after_seconds),
            }
        if parameters.get("status") == "throttled":
            return Refused(
                ErrorCode.RATE_LIMITED,
                retry_after_seconds=_number(parameters, "retry_after_seconds", 60),
            )
        challenge = _Challenge(
            email=email,
            name=name,
            locale=locale,
            username=parameters.get("USERNAME", email),
            session=response["Session"] if response else None,
            code_length=_number(parameters, "code_length", code_length),
            expires_at=_number(parameters, "expires_at", now + life_seconds),
            attempts_left=_number(parameters, "attempts_left", attempts),
            retry_after_seconds=_number(parameters, "retry_after_seconds", COOLDOWN_SECONDS),
            correlation_id=correlation_id,
        )
        if challenge.session:
            seen = (challenge.attempts_left, challenge.expires_at - now, challenge.code_length)
            self._usual_code = max(seen, self._usual_code or seen)
        return challenge

    def _answer(self, challenge: _Challenge, code: str) -> SignedIn | Refused | _Challenge:
        if challenge.session is None:
            return self._wrong_answer(challenge, None, {})
        response = self._cognito.admin_respond_to_auth_challenge(
            UserPoolId=self._user_pool_id,
            ClientId=self._client_id,
            ChallengeName="CUSTOM_CHALLENGE",
            Session=challenge.session,
            ChallengeResponses={"USERNAME": challenge.username, "ANSWER": code},
            ClientMetadata={"correlation_id": challenge.correlation_id}
            | ({"locale": challenge.locale} if challenge.locale else {}),
        )
        if "AuthenticationResult" in response:
            return self._sign_in(challenge, dict(response["AuthenticationResult"]))
        return self._wrong_answer(challenge, response["Session"], response["ChallengeParameters"])

    def _wrong_answer(
        self, challenge: _Challenge, session: str | None, parameters: Mapping[str, str]
    ) -> Refused | _Challenge:
        attempts_left = _number(parameters, "attempts_left", challenge.attempts_left - 1)
        expires_at = _number(parameters, "expires_at", challenge.expires_at)
        if parameters.get("status") == "expired" or (
            session is None and self._clock() >= expires_at
        ):
            return Refused(ErrorCode.OTP_EXPIRED)
        if attempts_left <= 0:
            return Refused(ErrorCode.MAX_ATTEMPTS_EXCEEDED)
        return replace(
            challenge,
            username=parameters.get("USERNAME", challenge.username),
            session=session,
            expires_at=expires_at,
            attempts_left=attempts_left,
        )

    def _refused_answer(self, error: ClientError | BotoCoreError, challenge: _Challenge) -> Refused:
        """Name why Cognito ended the login, which it does not say itself."""
        if _aws_code(error) not in _NOT_ALLOWED:
            return _refusal(error)
        # With tries left, Cognito has lost the session, or the user may not sign in any more.
        if self._clock() >= challenge.expires_at or challenge.attempts_left > 1:
            return Refused(ErrorCode.OTP_EXPIRED)
        return Refused(ErrorCode.MAX_ATTEMPTS_EXCEEDED)

    def _over(self, pending: _PendingLogin, refused: Refused) -> Refused:
        """Say of a login that is over from when there may be another mail."""
        wait = math.ceil(pending.next_mail_at - self._clock())
        return replace(refused, retry_after_seconds=wait) if wait > 0 else refused

    def _sign_in(self, challenge: _Challenge, result: dict[str, Any]) -> SignedIn | Refused:
        # Straight from Cognito over TLS, which stands in for the signature here: OpenID Connect
        # Core, 3.1.3.7, rule 6. Tokens that a browser sends are verified in identity.py.
        claims = jwt.decode(result["IdToken"], options={"verify_signature": False})
        try:
            guest = self._guests.record_login(
                claims["sub"], email=claims.get("email", challenge.email), name=challenge.name
            )
        except Exception as error:  # whatever it was, the tokens are out and must not stay valid
            _log.error(
                "guest record not stored",
                extra=describe(error) | {"correlation_id": challenge.correlation_id},
            )
            self._revoke(result["RefreshToken"], challenge.correlation_id)
            return Refused(ErrorCode.GUEST_CREATION_FAILED)
        token_delivery = {
            "event_type": "auth_tokens",
            "success": True,
            "id_token": result["IdToken"],
            "access_token": result["AccessToken"],
            "refresh_token": result["RefreshToken"],
            "expires_in": result["ExpiresIn"],
            "guest_id": guest.guest_id,
            "email": guest.email,
            "cognito_sub": guest.cognito_sub,
        }
        return SignedIn(guest, ClientOnly(token_delivery))

    def _revoke(self, refresh_token: str, correlation_id: str) -> None:
        try:
            self._cognito.revoke_token(Token=refresh_token, ClientId=self._client_id)
        except (ClientError, BotoCoreError) as error:
            _log.error(
                "tokens not revoked", extra=describe(error) | {"correlation_id": correlation_id}
            )

    def _known(self, session_id: str) -> _PendingLogin:
        """Return what is remembered, if anything.

        A chat is not remembered by being looked at: any number that ask for no code push no
        pending login out.
        """
        return self._pending.find(session_id) or _PendingLogin()

    def _hide_codes_until(self, pending: _PendingLogin, ends_at: float) -> None:
        pending.codes_hidden_until = max(
            pending.codes_hidden_until, ends_at + CODES_HIDDEN_AFTER_SECONDS
        )


def connect(
    settings: Settings, session: boto3.Session | None = None
) -> tuple[EmailOtpLogin, GuestStore]:
    """Make a login and the guests' store on real clients.

    The Cognito client tries once: a second try would send a second mail or burn the `Session`.
    Cognito itself may take three runs of a trigger, 5 s each, to answer.

    Args:
        settings: The deployment.
        session: Other credentials than the environment's.
    """
    pin_library_loggers()
    session = session or boto3.Session(region_name=settings.region)
    cognito = session.client(
        "cognito-idp",
        endpoint_url=settings.endpoint_url,
        config=Config(
            connect_timeout=2,
            read_timeout=17,
            retries={"total_max_attempts": 1},
            max_pool_connections=_CALLS_AT_ONCE,
        ),
    )
    dynamodb = session.client(
        "dynamodb",
        endpoint_url=settings.endpoint_url,
        config=Config(
            connect_timeout=2,
            read_timeout=3,
            retries={"total_max_attempts": 3, "mode": "standard"},
            max_pool_connections=_CALLS_AT_ONCE,
        ),
    )
    guests = GuestStore(dynamodb, settings.guests_table_name)
    login = EmailOtpLogin(
        cognito,
        guests,
        user_pool_id=settings.user_pool_id,
        client_id=settings.user_pool_client_id,
    )
    return login, guests


def _refusal(error: ClientError | BotoCoreError) -> Refused:
    """Map a failed call to what a visitor may be told of it."""
    code = _aws_code(error)
    if code in _THROTTLING:
        return Refused(ErrorCode.RATE_LIMITED, retry_after_seconds=_THROTTLED_RETRY_SECONDS)
    # AWS wraps a trigger's error as UserLambdaValidationException, MiniStack as
    # InvalidLambdaResponseException; both with the trigger's text inside.
    if isinstance(error, ClientError) and DELIVERY_FAILED_TEXT in str(
        error.response.get("Error", {}).get("Message", "")
    ):
        return Refused(ErrorCode.ERR_EMAIL_DELIVERY_FAILED)
    if code == "InvalidParameterException" and isinstance(error, ClientError):
        creating = error.operation_name == "AdminCreateUser"
        return Refused(ErrorCode.INVALID_EMAIL if creating else ErrorCode.AUTH_SERVICE_ERROR)
    return Refused(ErrorCode.AUTH_SERVICE_ERROR)


def _aws_code(error: ClientError | BotoCoreError) -> str:
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""


def _number(parameters: Mapping[str, str], name: str, default: int) -> int:
    """Return a challenge parameter, all of which are strings, as a whole number."""
    value = parameters.get(name, "")
    return int(value) if value.isascii() and value.isdigit() else default


def _tidy(name: str) -> str:
    """Return a typed name on one line, without invisible characters, at most 100 long."""
    printable = "".join(c if c.isprintable() else " " for c in name)
    return " ".join(printable.split())[:_MAX_NAME_CHARS]


def _mask(address: str) -> str:
    """Shorten an address to what its owner recognises: `ada@example.com` is `a***@e***.com`.

    Not taken from the challenge, so that a decoy cannot differ.
    """
    local, _, domain = address.partition("@")
    host, _, top_level = domain.rpartition(".")
    return f"{local[0]}***@{host[0]}***.{top_level}"
