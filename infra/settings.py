"""The app's settings: typed, with ranges, and refused with a sentence that says what to pass."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, Self

LOCAL_ACCOUNT, LOCAL_REGION = "000000000000", "us-east-1"
"""Where a stack with `local` goes: MiniStack's account, which is nobody's on AWS."""

# The part of RFC 5321 that real senders use. The address ends up in an IAM condition, so
# characters that mean something there ($ { } * ?) are not in it.
_ADDRESS = re.compile(
    r"[a-z0-9_%+-]+(\.[a-z0-9_%+-]+)*"
    r"@([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])",
    re.IGNORECASE | re.ASCII,
)


class SettingsError(ValueError):
    """A setting is missing, unreadable or out of range; the message says what to pass."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting of the stack.

    Attributes:
        sender: the address the codes come from; SES must have verified it or its domain.
        create_sender_identity: let the stack register `sender` with SES, which mails it a link.
            To try it out: for guests, verify its domain first, with DKIM and DMARC (README).
        app_name: how the mails name the app and their sender; the sender's domain when empty.
        code_length: digits of a code, 6 to 10.
        code_ttl_seconds: how long a code works, 60 to 600.
        max_attempts: answers a session may give, 1 to 3.
        max_sends_per_hour: mails the whole stack may send in an hour.
        access_token_minutes: life of the access and ID tokens, 5 to 1440.
        refresh_token_days: life of the refresh token, 1 to 3650.
        refresh_token_rotation: a refresh replaces the refresh token.
        agent: deploy the agent too.
        web: deploy the web page too.
        model_id: the agent's model.
        alarm_email: where alarms go; without it there are none.
        removal_policy: what happens to guests, users and the ledger with the stack.
        local: the stack goes into MiniStack, not AWS.

    Raises:
        SettingsError: a value is out of range.
    """

    sender: str
    create_sender_identity: bool = False
    app_name: str = ""
    code_length: int = 6
    code_ttl_seconds: int = 300
    max_attempts: int = 3
    max_sends_per_hour: int = 1000
    access_token_minutes: int = 15
    refresh_token_days: int = 30
    refresh_token_rotation: bool = True
    agent: bool = False
    web: bool = False
    model_id: str | None = None
    alarm_email: str | None = None
    removal_policy: Literal["retain", "destroy"] = "retain"
    local: bool = False

    def __post_init__(self) -> None:
        _require_address("sender", self.sender)
        if self.alarm_email is not None:
            _require_address("alarm_email", self.alarm_email)
        _require_between("code_length", self.code_length, 6, 10)
        _require_between("code_ttl_seconds", self.code_ttl_seconds, 60, 600)
        _require_between("max_attempts", self.max_attempts, 1, 3)
        _require_between("max_sends_per_hour", self.max_sends_per_hour, 1, 1_000_000)
        _require_between("access_token_minutes", self.access_token_minutes, 5, 1440)
        _require_between("refresh_token_days", self.refresh_token_days, 1, 3650)
        if not self.app_name:
            object.__setattr__(self, "app_name", self.sender.partition("@")[2])
        if not (self.app_name.isprintable() and self.app_name.strip() == self.app_name):
            raise SettingsError(f"app_name is {self.app_name!r}: pass one line of text")
        _require_between("the length of app_name", len(self.app_name), 1, 64)
        if self.removal_policy not in ("retain", "destroy"):
            raise SettingsError(
                f"removal_policy is {self.removal_policy!r}: pass retain (keep users, guests and "
                "ledger when the stack is deleted) or destroy"
            )
        for name in ("agent", "web", "model_id"):
            if value := getattr(self, name):
                raise SettingsError(
                    f"{name}={str(value).lower()} is not available yet, it comes in a later "
                    f"version: leave {name} out"
                )

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> Self:
        """Read the settings from the CDK context.

        Args:
            context: all of it, as `app.node.get_all_context()` gives it. The command line gives
                strings, cdk.json may give numbers and booleans.

        Raises:
            SettingsError: a value is missing, unreadable or out of range, or a name is no setting.
        """
        names = [field.name for field in fields(cls)]
        for name in context:
            # CDK's own keys have a colon, a slash or a hyphen.
            if re.fullmatch(r"\w+", name) and name not in names:
                (meant,) = difflib.get_close_matches(name, names, n=1, cutoff=0)
                raise SettingsError(f"{name} is no setting: did you mean {meant}?")
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = context.get(field.name)
            if value is None:
                if field.default is MISSING:
                    raise SettingsError(
                        f"{field.name} is missing: pass the address that sign-in mails come from, "
                        f"for example -c {field.name}=login@example.com"
                    )
                continue
            if field.type is bool:
                values[field.name] = _boolean(field.name, value)
            elif field.type is int:
                values[field.name] = _integer(field.name, value)
            else:
                values[field.name] = _text(field.name, value)
        return cls(**values)


def _boolean(name: str, value: object) -> bool:
    match value:
        case bool():
            return value
        case str() if value.lower() in ("true", "false"):
            return value.lower() == "true"
    raise SettingsError(f"{name} is {value!r}: pass {name}=true or {name}=false")


def _integer(name: str, value: object) -> int:
    match value:
        case int() if not isinstance(value, bool):
            return value
        case float() if value.is_integer():
            return int(value)
        case str() if value.isascii() and value.isdigit() and len(value) <= 9:
            return int(value)
    raise SettingsError(f"{name} is {value!r}: pass a whole number, for example {name}=6")


def _text(name: str, value: object) -> str:
    if isinstance(value, str) and value:
        return value
    raise SettingsError(f"{name} is {value!r}: pass some text or leave it out")


def _require_between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise SettingsError(f"{name} is {value}: pass a whole number from {low} to {high}")


def _require_address(name: str, value: str) -> None:
    local_part = value.partition("@")[0]
    if not _ADDRESS.fullmatch(value) or len(value) > 254 or len(local_part) > 64:
        raise SettingsError(
            f"{name} is {value!r}: pass one plain address without a display name, "
            f"for example {name}=login@example.com"
        )
