"""Signs the visitors of an agent in with codes by e-mail: what another team copies."""

from typing import TYPE_CHECKING

from .client_only import ClientOnly
from .outcomes import (
    CodeSent,
    ErrorCode,
    GuestProfile,
    Refused,
    SignedIn,
    TokenDeliveryEvent,
)
from .settings import load_settings
from .stream import ui_message_chunks
from .turns import EmailOtp

if TYPE_CHECKING:
    from .tools import email_otp_tools

__all__ = [
    "ClientOnly",
    "CodeSent",
    "EmailOtp",
    "ErrorCode",
    "GuestProfile",
    "Refused",
    "SignedIn",
    "TokenDeliveryEvent",
    "email_otp_tools",
    "load_settings",
    "ui_message_chunks",
]


def __getattr__(name: str) -> object:
    """Load the tools when they are asked for: without them nothing here needs Strands (PEP 562)."""
    if name == "email_otp_tools":
        from .tools import email_otp_tools

        return email_otp_tools
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
