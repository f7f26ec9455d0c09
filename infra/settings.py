"""The app's settings: typed, with ranges, and refused with a sentence that says what to pass."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, Literal, Self

from lambdas.email_otp.settings import (
    CreateSettings,
    ForgettingSettings,
    Setting,
    SettingsError,
    described,
)

__all__ = ["LOCAL_ACCOUNT", "LOCAL_REGION", "Settings", "SettingsError"]

LOCAL_ACCOUNT, LOCAL_REGION = "000000000000", "us-east-1"
"""Where a stack with `local` goes: MiniStack's account, which is nobody's on AWS."""

# The part of RFC 5321 that real senders use. The address ends up in an IAM condition, so
# characters that mean something there ($ { } * ?) are not in it.
_ADDRESS = re.compile(
    r"[a-z0-9_%+-]+(\.[a-z0-9_%+-]+)*"
    r"@([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])",
    re.IGNORECASE | re.ASCII,
)
# What Bedrock takes as a model, without what means something in an IAM policy: an id has a dot.
# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
_MODEL = re.compile(
    r"offline"
    r"|[a-z0-9-]+\.[a-zA-Z0-9-]+([.:][a-zA-Z0-9-]+)*"
    r"|arn:[a-z-]+:bedrock:[a-z0-9-]*:\d*:[a-z-]+/[a-zA-Z0-9-]+([.:/][a-zA-Z0-9-]+)*",
    re.ASCII,
)


@dataclass(frozen=True, kw_only=True)
class Settings(CreateSettings, ForgettingSettings):
    """Every setting of the stack: the functions' own, and those below.

    Raises:
        SettingsError: A value is out of range.
    """

    create_sender_identity: Annotated[
        bool,
        Setting(
            "register the one address with SES, which mails it a link; to try it out, as guests "
            "need a domain with DKIM and DMARC"
        ),
    ] = False
    waf: Annotated[
        bool,
        Setting(
            "an AWS WAF web ACL on the pool, which limits how often one network address may call it"
        ),
    ] = False
    access_token_minutes: Annotated[int, Setting("life of access and ID tokens", 5, 1440)] = 15
    refresh_token_days: Annotated[int, Setting("life of the refresh token", 1, 3650)] = 30
    refresh_token_rotation: Annotated[
        bool,
        Setting(
            "a refresh replaces the refresh token; the pool is then on Cognito's plan Essentials. "
            "`false`: on Lite, and clients refresh by REFRESH_TOKEN_AUTH too"
        ),
    ] = True
    alarm_email: Annotated[
        str | None,
        Setting(
            "who is mailed when mails run out, codes are guessed or sign-ins fail; brings the "
            "alarms and a dashboard"
        ),
    ] = None
    agent: Annotated[
        bool, Setting("host the agent on AgentCore, once for guests and once for members")
    ] = False
    model_id: Annotated[
        str | None,
        Setting(
            "what the agent asks, needed with `agent`: id or ARN of a Bedrock model or inference "
            "profile, or `offline` for the rule-based model"
        ),
    ] = None
    web: Annotated[
        bool, Setting("host the chat page on CloudFront, needs `agent`; run `make page` before")
    ] = False
    removal_policy: Annotated[
        Literal["retain", "protect", "destroy"],
        Setting(
            "users, guests and ledger: kept when the stack is deleted; `protect` also refuses to "
            "delete users and guests by hand (set it once the first deploy has worked); "
            "`destroy` deletes them with the stack"
        ),
    ] = "retain"
    local: Annotated[
        bool,
        Setting(
            "for MiniStack, whose permissions are laxer, and which has no agent, page or alarms; "
            "such a stack goes into the account 000000000000 alone"
        ),
    ] = False

    def __post_init__(self) -> None:
        _require_address("sender", self.sender)
        if self.alarm_email is not None:
            _require_address("alarm_email", self.alarm_email)
        for field in fields(self):
            kind, setting = described(field)
            if kind is int:
                _require_between(field.name, getattr(self, field.name), setting.low, setting.high)
        if not self.app_name:
            object.__setattr__(self, "app_name", self.sender.partition("@")[2])
        if not (self.app_name.isprintable() and self.app_name.strip() == self.app_name):
            raise SettingsError(f"app_name is {self.app_name!r}: pass one line of text")
        _require_between("the length of app_name", len(self.app_name), 1, 64)
        self._check_agent()
        if self.removal_policy not in ("retain", "protect", "destroy"):
            raise SettingsError(
                f"removal_policy is {self.removal_policy!r}: pass retain (keep users, guests and "
                "ledger when the stack is deleted), protect (also refuse to delete users and "
                "guests by hand) or destroy"
            )

    def _check_agent(self) -> None:
        if self.agent and self.model_id is None:
            raise SettingsError(
                "model_id is missing: pass the Bedrock model that the agent asks, for example "
                "-c model_id=eu.amazon.nova-lite-v1:0, or offline for the rule-based model"
            )
        if self.model_id is not None and not _MODEL.fullmatch(self.model_id):
            raise SettingsError(
                f"model_id is {self.model_id!r}: pass the id or ARN of a Bedrock model or "
                "inference profile, for example model_id=eu.amazon.nova-lite-v1:0, or offline"
            )
        for name in ("web", "model_id"):
            if getattr(self, name) and not self.agent:
                raise SettingsError(f"{name} needs the agent: pass agent=true, or leave it out")

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> Self:
        """Read the settings from the CDK context.

        Args:
            context: All of it, as `app.node.get_all_context()` gives it. The command line gives
                strings, cdk.json may give numbers and booleans.

        Raises:
            SettingsError: A value is missing, unreadable or out of range, or a name is no setting.
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
            kind, _ = described(field)
            read = {bool: _boolean, int: _integer}.get(kind, _text)
            values[field.name] = read(field.name, value)
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
