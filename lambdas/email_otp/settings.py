"""The triggers' settings, each once: the stack takes names, bounds and meanings from here."""

from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from typing import Annotated, Any, NamedTuple, Self, cast


class SettingsError(ValueError):
    """A setting is missing, unreadable or out of range; the message says what to pass."""


class Setting(NamedTuple):
    """What a setting means. A whole number also has bounds, both of them allowed.

    `may_lack`: the default holds where a function's configuration lacks it. Lambda takes new code
    and new configuration one after the other.
    """

    meaning: str
    low: int = 0
    high: int = 0
    may_lack: bool = False


@dataclass(frozen=True, kw_only=True)
class _Variables:
    """Values that reach a trigger in environment variables of the same names."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read every value.

        Raises:
            SettingsError: A variable is missing or out of range.
        """
        return cls(**{field.name: _read(field, environment) for field in fields(cls)})

    @classmethod
    def to_environment(cls, values: Self) -> dict[str, str]:
        """Write the values that this class has, without those of a subclass."""
        return {field.name.upper(): str(getattr(values, field.name)) for field in fields(cls)}


@dataclass(frozen=True, kw_only=True)
class Resources(_Variables):
    """What Create and Verify work with."""

    ledger_table_name: Annotated[str, Setting("the ledger's table")]
    code_key_secret_arn: Annotated[str, Setting("the secret that codes are derived from")]


@dataclass(frozen=True, kw_only=True)
class MailResources(_Variables):
    """What Create also works with."""

    configuration_set_name: Annotated[
        str, Setting("the SES configuration set that counts bounces", may_lack=True)
    ] = ""


@dataclass(frozen=True, kw_only=True)
class VerifySettings(_Variables):
    """What Verify Auth Challenge Response needs to know."""

    code_ttl_seconds: Annotated[int, Setting("how long a code works", 60, 600)] = 300


@dataclass(frozen=True, kw_only=True)
class CreateSettings(VerifySettings):
    """What Create Auth Challenge needs to know."""

    sender: Annotated[str, Setting("the address codes come from")]
    app_name: Annotated[
        str, Setting("the app's name in mails, and as their sender, up to 64 characters")
    ] = ""
    code_length: Annotated[int, Setting("digits of a code", 6, 10)] = 6
    max_attempts: Annotated[int, Setting("answers to one Cognito session", 1, 3)] = 3
    max_sends_per_hour: Annotated[
        int, Setting("mails in a clock hour to guests who have signed in before", 1, 1_000_000)
    ] = 1000
    max_new_guests_per_hour: Annotated[
        int,
        Setting(
            "newcomers in a clock hour: users created, and mails to addresses never verified",
            1,
            2000,
            may_lack=True,
        ),
    ] = 200


@dataclass(frozen=True, kw_only=True)
class ForgettingResources(_Variables):
    """What the sweep of unanswered sign-ins works with."""

    user_pool_id: Annotated[str, Setting("the user pool")]
    guests_table_name: Annotated[str, Setting("the guests' table")]
    ledger_table_name: Annotated[str, Setting("the ledger's table")]


@dataclass(frozen=True, kw_only=True)
class ForgettingSettings(_Variables):
    """What that sweep needs to know."""

    forget_unanswered_after_hours: Annotated[
        int,
        Setting("after how long an address whose owner never answered is forgotten", 2, 168),
    ] = 24


def described(field: Field[Any]) -> tuple[Any, Setting]:
    """Return a setting's type and description."""
    annotated: Any = field.type
    return annotated.__origin__, annotated.__metadata__[0]


def _read(field: Field[Any], environment: Mapping[str, str]) -> int | str:
    kind, setting = described(field)
    name = field.name.upper()
    if setting.may_lack and name not in environment:
        return cast(int | str, field.default)
    value = environment.get(name, "").strip()
    if kind is int:
        low, high = setting.low, setting.high
        if not (value.isascii() and value.isdigit() and low <= int(value) <= high):
            raise SettingsError(
                f"{name} is {value!r}: set it to a whole number from {low} to {high}"
            )
        return int(value)
    if not value or not value.isprintable():
        raise SettingsError(f"{name} is missing: set it on the function to one line of text")
    return value
