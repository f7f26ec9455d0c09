"""Who a trigger's event is about."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from lambdas.email_otp.code_key import CodeKey

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes.cognito_user_pool_event import (
        CreateAuthChallengeTriggerEvent,
        VerifyAuthChallengeResponseTriggerEvent,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """The user of one event.

    `known` is False where Cognito runs the triggers for a user who does not exist, so that
    callers cannot tell. `name` is the user's `sub` and `address` what Cognito holds; an unknown
    user has a name that Cognito makes up from what was typed, and no address.
    Source: https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pool-managing-errors.html
    """

    name: str
    known: bool
    address: str
    locale: str
    email_verified: bool

    @classmethod
    def from_event(
        cls, event: "CreateAuthChallengeTriggerEvent | VerifyAuthChallengeResponseTriggerEvent"
    ) -> Self:
        """Read the user.

        Raises:
            KeyError: A known user has no `sub` or `email`.
        """
        if event.request.user_not_found:
            return cls(
                name=event.user_name, known=False, address="", locale="", email_verified=False
            )
        attributes = event.request.get("userAttributes") or {}
        return cls(
            name=attributes["sub"],
            known=True,
            address=attributes["email"],
            locale=attributes.get("locale", ""),
            email_verified=attributes.get("email_verified") == "true",
        )

    def ledger_key(self, key: CodeKey) -> str:
        """Name the user in the ledger; who does not exist cannot take a user's place there."""
        return self.name if self.known else f"unknown#{key.digest('name', self.name).hex()}"
