"""The triggers' settings, parsed once from the environment at the Lambda's start."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self


class SettingsError(Exception):
    """A setting is missing or out of range; the message says which and what it must be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySettings:
    """What Verify Auth Challenge Response needs."""

    ledger_table_name: str
    code_key_secret_arn: str
    code_ttl_seconds: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Parse.

        Raises:
            SettingsError: a variable is missing or out of range.
        """
        return cls(
            ledger_table_name=_text(environment, "LEDGER_TABLE_NAME"),
            code_key_secret_arn=_text(environment, "CODE_KEY_SECRET_ARN"),
            code_ttl_seconds=_integer(environment, "CODE_TTL_SECONDS", 60, 600),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateSettings(VerifySettings):
    """What Create Auth Challenge needs: all that, and how to mail."""

    code_length: int
    max_attempts: int
    max_sends_per_hour: int
    sender: str
    app_name: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Parse.

        Raises:
            SettingsError: a variable is missing or out of range.
        """
        return cls(
            **asdict(VerifySettings.from_environment(environment)),
            code_length=_integer(environment, "CODE_LENGTH", 6, 10),
            max_attempts=_integer(environment, "MAX_ATTEMPTS", 1, 3),
            max_sends_per_hour=_integer(environment, "MAX_SENDS_PER_HOUR", 1, 1_000_000_000),
            sender=_text(environment, "SENDER"),
            app_name=_text(environment, "APP_NAME"),
        )


def _text(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value or not value.isprintable():
        raise SettingsError(f"{name} is missing: set it on the function to one line of text")
    return value


def _integer(environment: Mapping[str, str], name: str, low: int, high: int) -> int:
    value = environment.get(name, "").strip()
    if not (value.isascii() and value.isdigit() and low <= int(value) <= high):
        raise SettingsError(f"{name} is {value!r}: set it to a whole number from {low} to {high}")
    return int(value)
