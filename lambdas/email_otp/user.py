"""Who a trigger event is about."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from lambdas.email_otp.challenge import CodeKey


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """The user of one trigger event.

    `key` names her in the ledger; `known` is False where Cognito runs the triggers for a user
    who does not exist, so that callers cannot tell. `address` is what Cognito holds, or for an
    unknown user what was typed.
    Source: https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pool-managing-errors.html
    """

    key: str
    known: bool
    address: str
    locale: str
    email_verified: bool

    @classmethod
    def from_event(
        cls,
        *,
        user_name: str,
        user_attributes: Mapping[str, str] | None,
        user_not_found: bool | None,
        key: CodeKey,
    ) -> Self:
        """Read a user.

        Args:
            user_name: The event's `userName`: for an unknown user what was typed.
            user_attributes: The event's `userAttributes`.
            user_not_found: The event's `userNotFound`.
            key: Hides an unknown user's typed name in the ledger.

        Raises:
            KeyError: a known user has no `sub` or `email`.
        """
        attributes = user_attributes or {}
        if user_not_found:
            name = user_name.casefold()
            return cls(
                key=f"unknown#{key.digest('name', name).hex()}",
                known=False,
                address=name,
                locale="",
                email_verified=False,
            )
        return cls(
            key=attributes["sub"],
            known=True,
            address=attributes["email"],
            locale=attributes.get("locale", ""),
            email_verified=attributes.get("email_verified") == "true",
        )
