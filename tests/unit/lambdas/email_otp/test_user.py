"""Who an event is about."""

import pytest
from aws_lambda_powertools.utilities.data_classes.cognito_user_pool_event import (
    CreateAuthChallengeTriggerEvent,
)

from lambdas.email_otp.user import User
from tests.support.triggers import KEY


def _user(
    attributes: dict[str, str] | None, *, name: str = "sub-1", not_found: bool | None = None
) -> User:
    request = {"userAttributes": attributes, "userNotFound": not_found}
    return User.from_event(CreateAuthChallengeTriggerEvent({"userName": name, "request": request}))


def test_known_user_is_keyed_by_sub() -> None:
    user = _user({"sub": "sub-1", "email": "ada@example.com", "locale": "de"}, name="typed")
    assert (user.ledger_key(KEY), user.known, user.address) == ("sub-1", True, "ada@example.com")
    assert (user.locale, user.email_verified) == ("de", False)


@pytest.mark.parametrize(
    ("told", "verified"), [("true", True), ("false", False), ("True", False), ("", False)]
)
def test_address_is_verified_only_by_the_word_true(told: str, verified: bool) -> None:
    user = _user({"sub": "s", "email": "ada@example.com", "email_verified": told})
    assert user.email_verified is verified


@pytest.mark.parametrize("attributes", [None, {}, {"sub": "s", "email": "ada@example.com"}])
def test_unknown_user_is_keyed_by_a_hidden_name(attributes: dict[str, str] | None) -> None:
    """T15: whatever attributes come along."""
    user = _user(attributes, name="made-up-1", not_found=True)
    assert (user.known, user.address) == (False, "")
    assert "made-up-1" not in user.ledger_key(KEY)
    assert user == _user(None, name="made-up-1", not_found=True)
    other = _user(None, name="made-up-2", not_found=True)
    assert user.ledger_key(KEY) != other.ledger_key(KEY)


@pytest.mark.parametrize("attributes", [None, {}, {"sub": "s"}, {"email": "ada@example.com"}])
def test_known_user_without_sub_or_address_is_refused(attributes: dict[str, str] | None) -> None:
    """T17."""
    with pytest.raises(KeyError):
        _user(attributes)
