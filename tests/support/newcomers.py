"""A sign-in that creates few users, whose clock hour is no other test's."""

import secrets
from typing import Any

from agent.sign_in import EmailOtp
from agent.sign_in.cognito import Cognito
from agent.sign_in.guests import GuestStore
from agent.sign_in.login import LoginFlow
from agent.sign_in.newcomers import HOUR_SECONDS, Newcomers
from tests.support.deployment import Deployment

_FAR = 1_000_000
"""Hours since 1970: after 2084, and so never over."""


class FewNewcomers:
    """The newcomers of one hour, counted in a deployment's table.

    Args:
        stack: The deployment, used as its account's root.
        limit: Most users that are created.
    """

    def __init__(self, stack: Deployment, limit: int) -> None:
        self._stack = stack
        self._table = stack.outputs["GuestsTableName"]
        self.hour = _FAR + secrets.randbelow(_FAR)
        self.newcomers = Newcomers(
            stack.dynamodb, self._table, limit=limit, clock=lambda: self.hour * HOUR_SECONDS
        )
        self.cognito = Cognito(
            stack.cognito,
            user_pool_id=stack.outputs["UserPoolId"],
            client_id=stack.outputs["UserPoolClientId"],
            newcomers=self.newcomers,
        )

    def email_otp(self) -> EmailOtp:
        """Return the sign-in."""
        guests = GuestStore(self._stack.dynamodb, self._table)
        return EmailOtp(LoginFlow(self.cognito, guests), guests)

    def item(self) -> dict[str, Any]:
        """Return what the table holds of the hour."""
        return self._stack.guest_item(f"newcomers#{self.hour}")
