"""Which deployment the sign-in works with, read from the environment once and checked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_MAX_NEW_GUESTS_PER_HOUR = 200
"""The stack's own default."""
_MOST_NEW_GUESTS_PER_HOUR = 2000

_POOL_ID = re.compile(r"[a-z]{2}(-[a-z]+)+-\d_[0-9a-zA-Z]+")


class SettingsError(ValueError):
    """The environment lacks something; the message says what to pass, a line a fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the sign-in has to know of its deployment: stack outputs, and where they are.

    Attributes:
        max_new_guests_per_hour: Most users that are created in a clock hour, 1 to 2000.
        endpoint_url: Where all AWS calls go instead of AWS (MiniStack); None for AWS itself.
    """

    user_pool_id: str
    user_pool_client_id: str
    guests_table_name: str
    region: str
    max_new_guests_per_hour: int = DEFAULT_MAX_NEW_GUESTS_PER_HOUR
    endpoint_url: str | None = None

    @property
    def issuer(self) -> str:
        """The pool's `iss` claim, which is the AWS form whatever endpoint issued the token.

        https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-tokens-verifying-a-jwt.html
        """
        return f"https://cognito-idp.{self.region}.amazonaws.com/{self.user_pool_id}"

    @property
    def jwks_url(self) -> str:
        """Where the pool publishes the keys its tokens are signed with."""
        base = f"{self.endpoint_url}/{self.user_pool_id}" if self.endpoint_url else self.issuer
        return f"{base}/.well-known/jwks.json"


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings.

    Args:
        environment: Usually `os.environ`.

    Raises:
        SettingsError: Something is missing or cannot be right; names every such variable.
    """
    faults = []

    def required(name: str, output: str) -> str:
        value = environment.get(name, "").strip()
        if not value:
            faults.append(f"{name} is not set: pass the stack's output {output}")
        return value

    user_pool_id = required("USER_POOL_ID", "UserPoolId")
    if user_pool_id and not _POOL_ID.fullmatch(user_pool_id):
        faults.append(f"USER_POOL_ID is {user_pool_id!r}: a pool id looks like eu-west-1_AbCdEf123")
    user_pool_client_id = required("USER_POOL_CLIENT_ID", "UserPoolClientId")
    guests_table_name = required("GUESTS_TABLE_NAME", "GuestsTableName")
    region = environment.get("AWS_REGION", "").strip()
    if not region:
        faults.append("AWS_REGION is not set: pass the region of the stack, such as eu-west-1")
    newcomers = environment.get("MAX_NEW_GUESTS_PER_HOUR", "").strip()
    newcomers = newcomers or str(DEFAULT_MAX_NEW_GUESTS_PER_HOUR)
    if not (
        newcomers.isascii()
        and newcomers.isdigit()
        and 1 <= int(newcomers[:6]) <= _MOST_NEW_GUESTS_PER_HOUR
    ):
        faults.append(
            f"MAX_NEW_GUESTS_PER_HOUR is {newcomers!r}: pass a whole number from 1 to "
            f"{_MOST_NEW_GUESTS_PER_HOUR}, the stack's max_new_guests_per_hour"
        )
    endpoint_url = environment.get("AWS_ENDPOINT_URL", "").strip().rstrip("/") or None
    if endpoint_url and not endpoint_url.startswith(("http://", "https://")):
        faults.append(
            f"AWS_ENDPOINT_URL is {endpoint_url!r}: it must start with http:// or https://"
        )
    if faults:
        raise SettingsError("\n".join(faults))
    return Settings(
        user_pool_id=user_pool_id,
        user_pool_client_id=user_pool_client_id,
        guests_table_name=guests_table_name,
        region=region,
        max_new_guests_per_hour=int(newcomers),
        endpoint_url=endpoint_url,
    )
