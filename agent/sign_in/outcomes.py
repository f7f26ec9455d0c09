"""What a step of the sign-in may come to, and what a guest may be told of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from agent.sign_in.guests import Guest
from agent.sign_in.stream import ClientOnly
from agent.sign_in.visitor_input import AddressFault


class ErrorCode(StrEnum):
    """Why a step of the sign-in did not succeed."""

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
    ErrorCode.INVALID_EMAIL: "That does not look like a complete e-mail address.",
    ErrorCode.INVALID_OTP: (
        "That code is not right, or was used already. Enter the one in the latest mail, or ask for "
        "a new one."
    ),
    ErrorCode.OTP_EXPIRED: "That code has expired. A new one can be sent.",
    ErrorCode.MAX_ATTEMPTS_EXCEEDED: (
        "There were too many wrong tries. Asking for a code again begins anew: with the code "
        "mailed before until retry_after_seconds are over, then with a new one."
    ),
    ErrorCode.RATE_LIMITED: "Too many requests for now. Please wait and try again.",
    ErrorCode.NO_LOGIN_PENDING: (
        "No sign-in is waiting for a code. A new code can be sent. If it was another number: until "
        "someone is signed in, every number as long as a code is hidden."
    ),
    ErrorCode.ERR_EMAIL_DELIVERY_FAILED: (
        "The e-mail with the code could not be sent. Check the address, and ask for a new code."
    ),
    ErrorCode.AUTH_SERVICE_ERROR: "Signing in does not work right now. Please try again soon.",
    ErrorCode.GUEST_CREATION_FAILED: (
        "The code was right, but the guest record could not be saved. The code cannot be used "
        "again; a new one can be sent."
    ),
}
"""What a guest may be told; no exception's own text is ever among it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeSent:
    """A code is out, or nobody may learn that it is not.

    Attributes:
        destination: The masked address.
        code_length: Digits of the code.
        expires_in_seconds: From now.
        attempts_left: Answers this login may still give.
        retry_after_seconds: Until another mail may be asked for.
        new_mail: False if the code mailed before is still the one to enter.
    """

    destination: str
    code_length: int
    expires_in_seconds: int
    attempts_left: int
    retry_after_seconds: int
    new_mail: bool


@dataclass(frozen=True, slots=True)
class PendingCode:
    """A code that is waited for.

    Attributes:
        email: Whom it was sent to.
        code_length: Its digits.
        attempts_left: Answers this login may still give.
    """

    email: str = field(repr=False)
    code_length: int
    attempts_left: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A step that did not succeed, with what the visitor needs to go on.

    Attributes:
        attempts_left: Answers this login may still give.
        retry_after_seconds: Until a code can be mailed; None for at once, or if that is not known.
        address_fault: What is wrong with an address, where that can be said.
    """

    error_code: ErrorCode
    attempts_left: int | None = None
    retry_after_seconds: int | None = None
    address_fault: AddressFault | None = None

    @property
    def message(self) -> str:
        """The fixed text for this error."""
        return self.address_fault or MESSAGES[self.error_code]


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The right code: the guest, and the `TokenDeliveryEvent` for her browser alone."""

    guest: Guest
    token_delivery: ClientOnly


def name_of(outcome: CodeSent | Refused | SignedIn) -> str:
    """Name an outcome for logs and metrics: an error code, or one of three names of success."""
    match outcome:
        case Refused():
            return outcome.error_code.value
        case CodeSent():
            return "CODE_SENT" if outcome.new_mail else "CODE_STILL_GOOD"
        case SignedIn():
            return "SIGNED_IN"
