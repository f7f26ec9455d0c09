"""What the tools answer: each shape once, with the words a guest may hear of what went wrong."""

import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal, Self, override

from pydantic import BaseModel, ConfigDict, Field

from .client_only import ClientOnly
from .guests import Guest
from .visitor_input import address_fault


class ErrorCode(StrEnum):
    """Why a step did not succeed."""

    INVALID_EMAIL = "INVALID_EMAIL"
    INVALID_OTP = "INVALID_OTP"
    OTP_EXPIRED = "OTP_EXPIRED"
    MAX_ATTEMPTS_EXCEEDED = "MAX_ATTEMPTS_EXCEEDED"
    RATE_LIMITED = "RATE_LIMITED"
    NO_LOGIN_PENDING = "NO_LOGIN_PENDING"
    ERR_EMAIL_DELIVERY_FAILED = "ERR_EMAIL_DELIVERY_FAILED"
    AUTH_SERVICE_ERROR = "AUTH_SERVICE_ERROR"
    GUEST_CREATION_FAILED = "GUEST_CREATION_FAILED"


MESSAGES: Mapping[ErrorCode, str] = {
    ErrorCode.INVALID_EMAIL: (
        "That does not look like a complete e-mail address, such as ada@example.com."
    ),
    ErrorCode.INVALID_OTP: (
        "That code is not right, or was used already. Enter the one in the latest mail, or ask for "
        "a new code."
    ),
    ErrorCode.OTP_EXPIRED: "That code no longer works. Ask for a new code.",
    # Until a mail may be sent, the code that was mailed before is taken up again.
    ErrorCode.MAX_ATTEMPTS_EXCEEDED: (
        "That was the last try for now. Ask for a new code to go on: until one can be mailed, you "
        "may try the one in the latest mail again."
    ),
    ErrorCode.RATE_LIMITED: "There have been too many requests. Please wait, then ask again.",
    ErrorCode.NO_LOGIN_PENDING: (
        "No sign-in is waiting for a code just now. Ask for a new code to go on, and give your "
        "e-mail address. Write any other number in words: until you are signed in, each that is as "
        "long as a code is hidden."
    ),
    ErrorCode.ERR_EMAIL_DELIVERY_FAILED: (
        "The e-mail with the code could not be sent. Check the address, or ask for a new code."
    ),
    ErrorCode.AUTH_SERVICE_ERROR: ("Signing in does not work right now. Please try again soon."),
    ErrorCode.GUEST_CREATION_FAILED: (
        "The code was right, but the guest record could not be saved, so nobody is signed in. Ask "
        "for a new code."
    ),
}
"""What a guest may be told; no exception's own text is ever among it."""


class Outcome(BaseModel):
    """What a tool answers; `success` tells a refusal from the rest."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)

    def output(self) -> dict[str, Any]:
        """Return the JSON object that the model and the page read."""
        return self.model_dump(mode="json")


class Refused(Outcome):
    """A step that did not succeed, with what the visitor needs to go on.

    Attributes:
        message: Of `MESSAGES` unless there is a better one.
        attempts_left: Answers this login may still give.
        retry_after_seconds: Until a code can be mailed; None for at once, or if that is not known.
    """

    success: Literal[False] = False
    error_code: ErrorCode
    message: str = Field(default_factory=lambda refused: MESSAGES[refused["error_code"]])
    attempts_left: int | None = None
    retry_after_seconds: int | None = None

    @classmethod
    def address(cls, text: str) -> Self:
        """Refuse a text that is no address, and say why where that can be said."""
        message = address_fault(text) or MESSAGES[ErrorCode.INVALID_EMAIL]
        return cls(error_code=ErrorCode.INVALID_EMAIL, message=message)

    @override
    def output(self) -> dict[str, Any]:
        """Leave out what is not known."""
        return self.model_dump(mode="json", exclude_none=True)


class CodeSent(Outcome):
    """A code is out, or nobody may learn that it is not.

    Attributes:
        destination: The masked address.
        code_length: Digits of the code.
        expires_in_seconds: From now.
        attempts_left: Answers this login may still give.
        retry_after_seconds: Until another mail may be asked for.
        new_mail: False if the code mailed before is still the one to enter.
        busy: So many people are signing in that the mail may be late; the same for everybody.
        try_again_in_minutes: When to ask again if it is and no mail came; only where `busy`.
    """

    success: Literal[True] = True
    status: Literal["code_sent"] = "code_sent"
    destination: str
    code_length: int
    expires_in_seconds: int
    attempts_left: int
    retry_after_seconds: int
    new_mail: bool
    busy: bool
    try_again_in_minutes: int | None = None

    @override
    def output(self) -> dict[str, Any]:
        """Leave out what is not known."""
        return self.model_dump(mode="json", exclude_none=True)


class SignedIn(Outcome):
    """The right code. The tokens are for the browser alone and no part of the output.

    Attributes:
        token_delivery: A sealed `TokenDeliveryEvent`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    success: Literal[True] = True
    guest_id: str
    name: str
    message: Literal["Signed in."] = "Signed in."
    token_delivery: ClientOnly = Field(exclude=True)


class TokenDeliveryEvent(Outcome):
    """What the browser gets as the output of `verify_cognito_otp`, and nobody else.

    Attributes:
        expires_in: Life of the ID and the access token, seconds.
        guest_id: `GST-YYYY-XXXXXX`.
        email: The ID token's.
    """

    event_type: Literal["auth_tokens"] = "auth_tokens"
    success: Literal[True] = True
    id_token: str = Field(repr=False)
    access_token: str = Field(repr=False)
    refresh_token: str = Field(repr=False)
    expires_in: int
    guest_id: str
    email: str
    cognito_sub: str


class GuestRecord(Outcome):
    """A guest's record as they may see it; times are RFC 3339 in UTC."""

    guest_id: str
    email: str
    name: str
    guest_since: str
    last_login_at: str

    @classmethod
    def of(cls, guest: Guest) -> Self:
        """Return what is shown of a guest."""
        return cls(
            guest_id=guest.guest_id,
            email=guest.email,
            name=guest.name,
            guest_since=_time(guest.created_at),
            last_login_at=_time(guest.last_login_at),
        )


class GuestProfile(Outcome):
    """The signed-in visitor's own record, or why there is none."""

    success: Literal[True] = True
    signed_in: bool
    guest: GuestRecord | None = None
    message: str | None = None


def name_of(outcome: CodeSent | Refused | SignedIn) -> str:
    """Name an outcome for logs and metrics: an error code, or one of three names of success."""
    match outcome:
        case Refused():
            return outcome.error_code.value
        case CodeSent():
            return "CODE_SENT" if outcome.new_mail else "CODE_STILL_GOOD"
        case SignedIn():
            return "SIGNED_IN"


def _time(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
