"""The calls to Cognito: what each sends, what its failure means, and who may not sign in.

Cognito's `Session` and the tokens leave this module only inside what `login.py` keeps or seals.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

from botocore.exceptions import BotoCoreError, ClientError

from .creation_times import CreationTimes
from .decoys import COOLDOWN_SECONDS, Decoys
from .newcomers import HOUR_SECONDS, Newcomers
from .observability import describe
from .outcomes import ErrorCode, Refused
from .sessions import Sessions

if TYPE_CHECKING:
    from types_boto3_cognito_idp import CognitoIdentityProviderClient

_log = logging.getLogger(__name__)

_THROTTLED_RETRY_SECONDS = 30
_TOKENS_LIMIT = 10_000
_CHECK_VALID_SECONDS = 60

_THROTTLING = {"TooManyRequestsException", "LimitExceededException", "ThrottlingException"}

_WITH_ADDRESS = {"AdminGetUser", "AdminCreateUser"}
_EXISTS = {"UsernameExistsException", "AliasExistsException"}

# Cognito's ways of saying that this user may not sign in. A visitor must not learn that.
_NOT_ALLOWED = {
    "NotAuthorizedException",
    "UserNotFoundException",
    "UserNotConfirmedException",
    "PasswordResetRequiredException",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCode:
    """A code that was asked for.

    Attributes:
        email: Whom it was sent to.
        locale: Language of the guest's mails from this sign-in on.
        username: What Cognito calls the user.
        session: Cognito's; without one it is a decoy, which no answer meets.
        code_length: Its digits.
        expires_at: Epoch seconds.
        attempts_left: Answers this login may still give.
        retry_after_seconds: Until another mail may be asked for, when this one was.
        busy: The stack's mails of this hour are used up, so that one may be late, or never come.
        correlation_id: Ties the agent's log lines to the triggers'.
    """

    email: str = field(repr=False)
    locale: str | None
    username: str = field(repr=False)
    session: str | None = field(repr=False)
    code_length: int
    expires_at: int
    attempts_left: int
    retry_after_seconds: int
    busy: bool
    correlation_id: str


class _CodeShape(NamedTuple):
    """What codes look like; by default as the stack's settings do."""

    attempts: int = 3
    life_seconds: int = 300
    digits: int = 6


@dataclass(slots=True, weakref_slot=True)
class _Creation:
    """A user who is being created, shared by those who ask at the same time."""

    done: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(slots=True)
class _TokenCheck:
    """Whether Cognito takes a token, and until when, epoch seconds, it is not asked again."""

    signed_in: bool = False
    valid_until: float = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Cognito:
    """One user pool, called through one of its app clients.

    Args:
        client: One that tries each call once; see `clients.connect`.
        user_pool_id: The pool.
        client_id: Its app client, one without a secret.
        newcomers: Counts the users created here.
        creation_times: What the others wait by.
        clock: Epoch seconds.
    """

    def __init__(
        self,
        client: CognitoIdentityProviderClient,
        *,
        user_pool_id: str,
        client_id: str,
        newcomers: Newcomers,
        creation_times: CreationTimes | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._user_pool_id = user_pool_id
        self._client_id = client_id
        self._newcomers = newcomers
        self._creation_times = creation_times or CreationTimes()
        self._clock = clock
        self._decoys = Decoys(clock)
        self._busy_hour: int | None = None  # in which the last challenge said that it is busy
        self._seen: _CodeShape | None = None
        self._checks: Sessions[_TokenCheck] = Sessions(
            limit=_TOKENS_LIMIT, idle_seconds=_CHECK_VALID_SECONDS, clock=clock
        )
        self._creating: WeakValueDictionary[str, _Creation] = WeakValueDictionary()
        self._creating_lock = threading.Lock()

    def make_user(self, email: str, *, locale: str | None, correlation_id: str) -> bool:
        """Create the user if there is none, as long as the hour's newcomers are not used up.

        Beyond that there is none, and Cognito plays the sign-in of a user who does not exist:
        nobody hears the difference. All take the same time.

        Returns:
            Whether the hour's newcomers are used up, which is told to everybody alike.

        Raises:
            ClientError, BotoCoreError: Nobody was created; also where the count cannot be read or
                written, whoever asks: without that table no sign-in can end well.
        """
        with self._creating_lock:
            creation = self._creating.setdefault(email, _Creation())
        exists = self._exists(email)
        began_at = self._creation_times.now()
        used_up = self._newcomers.are_used_up()
        if not exists and not used_up:
            # One at a time: of two calls in the same instant Cognito has been seen to keep both
            # users and refuse the later one's alias, github.com/ustaxcourt/ef-cms/pull/5260.
            with creation.lock:
                if creation.done:
                    return False
                hour = self._newcomers.admit()
                if hour is not None:
                    username = self._create(creation, email, locale)
                    if username:
                        self._settle(username, hour, correlation_id)
                    self._creation_times.note(began_at)
                    return False
            used_up = True
        if not exists:
            _log.info("newcomers' budget used up", extra={"correlation_id": correlation_id})
        self._creation_times.wait(began_at)
        return used_up

    def _exists(self, email: str) -> bool:
        try:
            self._client.admin_get_user(UserPoolId=self._user_pool_id, Username=email)
        except ClientError as error:
            if _aws_code(error) != "UserNotFoundException":
                raise
            return False
        return True

    def _create(self, creation: _Creation, email: str, locale: str | None) -> str | None:
        """Create the user without any mail of Cognito's own.

        Returns:
            Their username; None if another process has just created them.
        """
        attributes = {"email": email, "email_verified": "false"}
        if locale:
            attributes["locale"] = locale
        try:
            created = self._client.admin_create_user(
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
        return created["User"]["Username"] if created else None

    def _settle(self, username: str, hour: int, correlation_id: str) -> None:
        """Note a new user for the sweep, and give them a password.

        Who could not be noted signs in all the same, but if they never do, no sweep removes them:
        they stay in the pool until somebody has them forgotten by hand.

        Args:
            username: Their `sub`, as it is where addresses are the users' names.
            hour: In which they were counted.
            correlation_id: For the log.
        """
        try:
            self._newcomers.note(username, hour)
        except (ClientError, BotoCoreError) as error:
            _log.error(
                "newcomer not noted", extra=describe(error) | {"correlation_id": correlation_id}
            )
        # Else the temporary password expires and may take the account with it. Nobody ever learns
        # this one; the suffix meets any password policy. If this call fails, the guest asks again
        # and signs in all the same, as custom auth asks for no password. Their temporary one stays
        # then: to find that out would cost every sign-in a call.
        self._client.admin_set_user_password(
            UserPoolId=self._user_pool_id,
            Username=username,
            Password=f"{secrets.token_urlsafe(32)}aA1!",
            Permanent=True,
        )

    def request_code(
        self, email: str, *, locale: str | None, correlation_id: str
    ) -> PendingCode | Refused:
        """Start a sign-in, which mails a code; a user who may not sign in gets a decoy."""
        try:
            response = self._client.admin_initiate_auth(
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
        now = int(self._clock())
        usual = self._seen or _CodeShape()
        parameters = (
            response["ChallengeParameters"] if response else self._decoy(email, usual.life_seconds)
        )
        busy = parameters.get("busy") == "true"
        self._busy_hour = now // HOUR_SECONDS if busy else None
        if parameters.get("status") == "throttled":
            return Refused(
                error_code=ErrorCode.RATE_LIMITED,
                retry_after_seconds=_number(parameters, "retry_after_seconds", 60),
            )
        code = PendingCode(
            email=email,
            locale=locale,
            username=parameters.get("USERNAME", email),
            session=response["Session"] if response else None,
            code_length=_number(parameters, "code_length", usual.digits),
            expires_at=_number(parameters, "expires_at", now + usual.life_seconds),
            attempts_left=_number(parameters, "attempts_left", usual.attempts),
            retry_after_seconds=_number(parameters, "retry_after_seconds", COOLDOWN_SECONDS),
            busy=busy,
            correlation_id=correlation_id,
        )
        if code.session:
            # A decoy copies the largest code seen: a code that is joined has less of its life left,
            # and a long one has one attempt.
            seen = _CodeShape(code.attempts_left, code.expires_at - now, code.code_length)
            self._seen = max(seen, self._seen or seen)
        return code

    def _decoy(self, email: str, life_seconds: int) -> dict[str, str]:
        decoy = self._decoys.ask(email, life_seconds=life_seconds)
        return {
            "status": "throttled" if decoy.expires_at is None else "sent",
            "expires_at": str(decoy.expires_at),
            "retry_after_seconds": str(decoy.retry_after_seconds),
            "busy": str(self._busy_hour == int(self._clock()) // HOUR_SECONDS).lower(),
        }

    def answer_code(self, code: PendingCode, digits: str) -> dict[str, Any] | PendingCode | Refused:
        """Answer once.

        Returns:
            Cognito's `AuthenticationResult`, or after a wrong answer what may be answered next.
        """
        if code.session is None:
            return self._next(code, None, {})
        response = self._client.admin_respond_to_auth_challenge(
            UserPoolId=self._user_pool_id,
            ClientId=self._client_id,
            ChallengeName="CUSTOM_CHALLENGE",
            Session=code.session,
            ChallengeResponses={"USERNAME": code.username, "ANSWER": digits},
            ClientMetadata={"correlation_id": code.correlation_id}
            | ({"locale": code.locale} if code.locale else {}),
        )
        if "AuthenticationResult" in response:
            return dict(response["AuthenticationResult"])
        return self._next(code, response["Session"], response["ChallengeParameters"])

    def _next(
        self, code: PendingCode, session: str | None, parameters: Mapping[str, str]
    ) -> PendingCode | Refused:
        attempts_left = _number(parameters, "attempts_left", code.attempts_left - 1)
        expires_at = _number(parameters, "expires_at", code.expires_at)
        if parameters.get("status") == "expired" or (
            session is None and self._clock() >= expires_at
        ):
            return Refused(error_code=ErrorCode.OTP_EXPIRED)
        if attempts_left <= 0:
            return Refused(error_code=ErrorCode.MAX_ATTEMPTS_EXCEEDED)
        return replace(
            code,
            username=parameters.get("USERNAME", code.username),
            session=session,
            # A later round may take up a code that was mailed meanwhile.
            code_length=_number(parameters, "code_length", code.code_length),
            expires_at=expires_at,
            attempts_left=attempts_left,
        )

    def refused_answer(self, error: ClientError | BotoCoreError, code: PendingCode) -> Refused:
        """Say why Cognito ended the login, which it does not say itself."""
        if _aws_code(error) not in _NOT_ALLOWED:
            return refused_call(error)
        # With tries left, Cognito has lost the session, or the user may not sign in any more.
        if self._clock() >= code.expires_at or code.attempts_left > 1:
            return Refused(error_code=ErrorCode.OTP_EXPIRED)
        return Refused(error_code=ErrorCode.MAX_ATTEMPTS_EXCEEDED)

    def revoke(self, refresh_token: str, correlation_id: str) -> None:
        """Make the tokens of a sign-in useless; a failure is logged."""
        try:
            self._client.revoke_token(Token=refresh_token, ClientId=self._client_id)
        except (ClientError, BotoCoreError) as error:
            _log.error(
                "tokens not revoked", extra=describe(error) | {"correlation_id": correlation_id}
            )

    def is_signed_in(self, access_token: str) -> bool:
        """Ask Cognito, at most once a minute and token, whether it still takes the token.

        It does not if the guest has signed out, was disabled or deleted; the token itself
        verifies until it expires.

        Args:
            access_token: One that has been verified.

        Raises:
            ClientError, BotoCoreError: Cognito could not tell.
        """
        check = self._checks.get(hashlib.sha256(access_token.encode()).hexdigest(), _TokenCheck)
        with check.lock:
            if self._clock() < check.valid_until:
                return check.signed_in
            try:
                self._client.get_user(AccessToken=access_token)
                check.signed_in = True
            except ClientError as error:
                if _aws_code(error) not in _NOT_ALLOWED:
                    raise
                check.signed_in = False
            check.valid_until = self._clock() + _CHECK_VALID_SECONDS
            return check.signed_in


def refused_call(error: ClientError | BotoCoreError) -> Refused:
    """Say what a visitor may be told of a failed call."""
    if not isinstance(error, ClientError):
        return Refused(error_code=ErrorCode.AUTH_SERVICE_ERROR)
    code = _aws_code(error)
    if code in _THROTTLING:
        return Refused(
            error_code=ErrorCode.RATE_LIMITED, retry_after_seconds=_THROTTLED_RETRY_SECONDS
        )
    # The Create trigger raises this text, and Cognito quotes it.
    if ErrorCode.ERR_EMAIL_DELIVERY_FAILED in str(
        error.response.get("Error", {}).get("Message", "")
    ):
        return Refused(error_code=ErrorCode.ERR_EMAIL_DELIVERY_FAILED)
    # The first call with an address says so; it takes fewer characters than addresses may have.
    if code == "InvalidParameterException" and error.operation_name in _WITH_ADDRESS:
        return Refused(error_code=ErrorCode.INVALID_EMAIL)
    return Refused(error_code=ErrorCode.AUTH_SERVICE_ERROR)


def _aws_code(error: ClientError | BotoCoreError) -> str:
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""


def _number(parameters: Mapping[str, str], name: str, default: int) -> int:
    """Return a challenge parameter, all of which are strings, as a whole number."""
    value = parameters.get(name, "")
    return int(value) if value.isascii() and value.isdigit() else default
