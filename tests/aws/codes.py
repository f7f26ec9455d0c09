"""Derives the code that was mailed last, for who may read both the ledger and the code key.

That is an operator, in tests alone: nothing that is deployed offers this.
"""

from typing import Any

from lambdas.email_otp.challenge import Challenge
from lambdas.email_otp.code_key import CodeKeys


def last_code(item: dict[str, Any], keys: CodeKeys, ledger_key: str) -> str | None:
    """Derive a code.

    Args:
        item: The user's in the ledger, as DynamoDB returns it.
        keys: The stack's code key.
        ledger_key: The key of that item.

    Returns:
        The code; None if the item names none.
    """
    if "challenge_id" not in item:
        return None
    challenge = Challenge(
        id=item["challenge_id"]["S"],
        issued_at=int(item["issued_at"]["N"]),
        digits=int(item["digits"]["N"]),
        max_attempts=int(item["max_attempts"]["N"]),
        key_version=item["key_version"]["S"],
        address_digest=item["address_digest"]["S"],
        nonce="",
    )
    return challenge.code(keys.version(challenge.key_version), ledger_key)
