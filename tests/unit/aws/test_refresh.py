"""The checks of refresh and sign-out, on a Cognito that does not do its part."""

from typing import Any

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError

from tests.aws import refresh
from tests.aws.check import Failed
from tests.aws.sign_in import Mailed, SignedIn
from tests.aws.stack import Stack, User
from tests.support.hosted_stand_in import OUTPUTS, REGION

TOKENS = {"IdToken": "an-id-token", "AccessToken": "one", "RefreshToken": "one"}
ANOTHER = {"IdToken": "an-id-token", "AccessToken": "another", "RefreshToken": "another"}


class Cognito:
    """One that always refreshes, and takes every access token, until it is told to refuse."""

    def __init__(self, **answers: dict[str, str] | None) -> None:
        usual: dict[str, dict[str, str] | None]
        usual = {"flow": ANOTHER, "rotation": ANOTHER, "user": {}}
        self.answers = usual | answers

    def _answer(self, name: str) -> dict[str, Any]:
        if (answer := self.answers[name]) is None:
            raise ClientError({"Error": {"Code": "NotAuthorizedException"}}, "GetUser")
        return {"AuthenticationResult": answer}

    def describe_user_pool_client(self, **_: Any) -> dict[str, Any]:
        return {"UserPoolClient": {"ExplicitAuthFlows": ["ALLOW_CUSTOM_AUTH"]}}

    def initiate_auth(self, **_: Any) -> dict[str, Any]:
        return self._answer("flow")

    def get_tokens_from_refresh_token(self, **_: Any) -> dict[str, Any]:
        return self._answer("rotation")

    def get_user(self, **_: Any) -> dict[str, Any]:
        return self._answer("user")

    def revoke_token(self, **_: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh, "_REVOKED_SECONDS", 0.1)
    monkeypatch.setattr("time.sleep", lambda _: None)


def stack_of(cognito: Any) -> Stack:
    stack = Stack(boto3.Session(region_name=REGION), OUTPUTS, httpx.Client())
    stack.cognito = stack.public_cognito = cognito
    return stack


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        (ANOTHER | {"AccessToken": "one"}, "the access token is the old one"),
        (ANOTHER | {"RefreshToken": "one"}, "no new refresh token came"),
        (ANOTHER, "the access token is the old one"),  # the second time
    ],
)
def test_refresh_that_brings_nothing_new_fails(
    tokens: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "require_own_tokens", lambda *_: None)
    signed_in = SignedIn(Mailed(User("", "a-sub"), {}, ""), TOKENS)
    with pytest.raises(Failed, match=reason):
        refresh.refresh_brings_tokens.run(stack_of(Cognito(rotation=tokens)), signed_in)


def test_tokens_of_a_refresh_are_verified() -> None:
    signed_in = SignedIn(Mailed(User("", "a-sub"), {}, ""), TOKENS)
    with pytest.raises(Failed, match="the id token's token is wrong"):
        refresh.refresh_brings_tokens.run(stack_of(Cognito()), signed_in)


def test_flow_around_rotation_fails() -> None:
    with pytest.raises(Failed, match="REFRESH_TOKEN_AUTH brought tokens"):
        refresh.rotation_is_the_only_way.run(stack_of(Cognito()), TOKENS)
    refresh.rotation_is_the_only_way.run(stack_of(Cognito(flow=None)), TOKENS)


def test_sign_out_that_ends_nothing_fails() -> None:
    with pytest.raises(Failed, match="the refresh token still works"):
        refresh.sign_out_ends_it.run(stack_of(Cognito()), TOKENS)
    with pytest.raises(Failed, match="GetUser still takes the access token"):
        refresh.sign_out_ends_it.run(stack_of(Cognito(rotation=None)), TOKENS)
    refresh.sign_out_ends_it.run(stack_of(Cognito(rotation=None, user=None)), TOKENS)
