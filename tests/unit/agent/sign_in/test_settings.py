"""The deployment the sign-in works with."""

import pytest

from agent.sign_in.settings import SettingsError, load_settings
from lambdas.email_otp.settings import CreateSettings

GOOD = {
    "USER_POOL_ID": "eu-west-1_AbCdEf123",
    "USER_POOL_CLIENT_ID": "client1",
    "GUESTS_TABLE_NAME": "guests",
    "AWS_REGION": "eu-west-1",
}


def test_by_default_it_is_on_aws() -> None:
    settings = load_settings(GOOD)
    assert settings.endpoint_url is None
    assert settings.jwks_url == (
        "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEf123/.well-known/jwks.json"
    )


def test_newcomers_are_as_many_as_the_stacks_own_setting_allows() -> None:
    assert (
        load_settings(GOOD).max_new_guests_per_hour
        == CreateSettings(sender="login@example.com").max_new_guests_per_hour
    )
    for limit in (1, 2000):
        settings = load_settings(GOOD | {"MAX_NEW_GUESTS_PER_HOUR": str(limit)})
        assert settings.max_new_guests_per_hour == limit


def test_an_endpoint_serves_the_keys_but_is_not_the_issuer() -> None:
    settings = load_settings(GOOD | {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566/"})
    assert settings.jwks_url == ("http://127.0.0.1:4566/eu-west-1_AbCdEf123/.well-known/jwks.json")
    assert settings.issuer == "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEf123"


def test_everything_missing_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        load_settings({})
    for name in (*GOOD, "UserPoolId", "UserPoolClientId", "GuestsTableName"):
        assert name in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("USER_POOL_ID", "pool"),
        ("AWS_ENDPOINT_URL", "localhost:4566"),
        ("MAX_NEW_GUESTS_PER_HOUR", "0"),
        ("MAX_NEW_GUESTS_PER_HOUR", "2001"),
        ("MAX_NEW_GUESTS_PER_HOUR", "9" * 9),
        ("MAX_NEW_GUESTS_PER_HOUR", "-1"),
        ("MAX_NEW_GUESTS_PER_HOUR", "\u0663"),
    ],
)
def test_what_cannot_be_right_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load_settings(GOOD | {name: value})
