"""One example of everything the tools answer, made from its type, for the tests of the page.

After a change of a type, `python -m tests.support.tool_outputs` writes them anew.
"""

import json
from typing import Any

import jwt

from agent.sign_in.outcomes import (
    CodeSent,
    ErrorCode,
    GuestProfile,
    GuestRecord,
    Refused,
    TokenDeliveryEvent,
)
from infra.local.ministack import ROOT

FILE = ROOT / "agent" / "web" / "src" / "testing" / "tool-outputs.json"
_SUB = "11111111-2222-4333-8444-555555555555"


def examples() -> dict[str, Any]:
    """Return the examples by name, as they go over the wire."""
    token = jwt.encode({"sub": _SUB, "exp": 1_800_000_900}, "", algorithm="none")
    delivery = TokenDeliveryEvent(
        id_token=token,
        access_token=token,
        refresh_token="refresh-token",
        expires_in=900,
        guest_id="GST-2027-ABC123",
        email="ada@example.com",
        cognito_sub=_SUB,
    )
    sent = CodeSent(
        destination="a***@e***.com",
        code_length=6,
        expires_in_seconds=300,
        attempts_left=3,
        retry_after_seconds=30,
        new_mail=True,
        busy=False,
    )
    guest = GuestRecord(
        guest_id="GST-2027-ABC123",
        email="ada@example.com",
        name="Ada",
        guest_since="2027-01-15T08:00:00Z",
        last_login_at="2027-01-15T08:00:00Z",
    )
    return {
        "delivery": delivery.output(),
        "sent": sent.output(),
        "refused": [
            Refused(error_code=code, attempts_left=2, retry_after_seconds=30).output()
            for code in ErrorCode
        ],
        "profile": GuestProfile(signed_in=True, guest=guest).output(),
        "nobody": GuestProfile(signed_in=False).output(),
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(examples(), indent=2) + "\n", "utf-8")
