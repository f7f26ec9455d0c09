"""The triggers' settings: wrong ones stop the Lambda's start with a sentence that helps."""

from collections.abc import Callable, Mapping

import pytest

from lambdas.email_otp.settings import (
    CreateSettings,
    MailResources,
    Resources,
    SettingsError,
    VerifySettings,
)
from tests.support.triggers import ENVIRONMENT


def test_settings_are_read_from_the_environment() -> None:
    settings = CreateSettings.from_environment(ENVIRONMENT)
    assert settings.code_length == 6
    assert settings.sender == "login@example.com"
    assert VerifySettings.from_environment(ENVIRONMENT).code_ttl_seconds == 300


def test_each_trigger_is_given_its_own_settings_alone() -> None:
    settings = CreateSettings.from_environment(ENVIRONMENT)
    assert VerifySettings.to_environment(settings) == {"CODE_TTL_SECONDS": "300"}
    resources = Resources.from_environment(ENVIRONMENT)
    given = Resources.to_environment(resources) | CreateSettings.to_environment(settings)
    assert given.items() <= ENVIRONMENT.items()
    assert CreateSettings.from_environment(given) == settings


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (Resources.from_environment, "LEDGER_TABLE_NAME"),
        (Resources.from_environment, "CODE_KEY_SECRET_ARN"),
        (CreateSettings.from_environment, "SENDER"),
        (CreateSettings.from_environment, "APP_NAME"),
    ],
)
@pytest.mark.parametrize("value", [None, "", "  ", "two\nlines", "\x00"])
def test_missing_text_is_named(
    read: Callable[[Mapping[str, str]], object], name: str, value: str | None
) -> None:
    environment = {key: text for key, text in ENVIRONMENT.items() if key != name}
    if value is not None:
        environment[name] = value
    with pytest.raises(SettingsError, match=name):
        read(environment)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("CODE_LENGTH", 6, 10),
        ("CODE_TTL_SECONDS", 60, 600),
        ("MAX_ATTEMPTS", 1, 3),
        ("MAX_SENDS_PER_HOUR", 1, 1_000_000),
        ("MAX_NEW_GUESTS_PER_HOUR", 1, 2000),
    ],
)
def test_numbers_are_bounded(name: str, low: int, high: int) -> None:
    for value in (low, high):
        CreateSettings.from_environment(ENVIRONMENT | {name: str(value)})
    for wrong in (str(low - 1), str(high + 1), "", "-6", "6.0", "six", "\u0666", "1e1"):
        with pytest.raises(SettingsError, match=f"{name}.*whole number from {low} to {high}"):
            CreateSettings.from_environment(ENVIRONMENT | {name: wrong})


def test_an_older_versions_configuration_lacks_what_is_new() -> None:
    old = {name: value for name, value in ENVIRONMENT.items() if name != "MAX_NEW_GUESTS_PER_HOUR"}
    assert CreateSettings.from_environment(old).max_new_guests_per_hour == 200
    assert MailResources.from_environment({}).configuration_set_name == ""
