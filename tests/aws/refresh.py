"""Staying signed in, and signing out, straight at Cognito as the page does it."""

import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from tests.aws.check import THROTTLED, check, code_of, require, require_refused
from tests.aws.sign_in import SignedIn, anybody_signs_in, require_own_tokens
from tests.aws.stack import Stack

_REVOKED_SECONDS = 10
_REFUSALS = ("NotAuthorizedException", "InvalidParameterException", "RefreshTokenReuseException")


def _rotates(stack: Stack) -> bool:
    client = stack.cognito.describe_user_pool_client(
        UserPoolId=stack.outputs["UserPoolId"], ClientId=stack.outputs["UserPoolClientId"]
    )["UserPoolClient"]
    return "ALLOW_REFRESH_TOKEN_AUTH" not in client["ExplicitAuthFlows"]


def _by_flow(stack: Stack, refresh_token: str) -> dict[str, Any]:
    return dict(
        stack.public_cognito.initiate_auth(
            ClientId=stack.outputs["UserPoolClientId"],
            AuthFlow="REFRESH_TOKEN_AUTH",
            AuthParameters={"REFRESH_TOKEN": refresh_token},
        )["AuthenticationResult"]
    )


def _by_rotation(stack: Stack, refresh_token: str) -> dict[str, Any]:
    return dict(
        stack.public_cognito.get_tokens_from_refresh_token(
            ClientId=stack.outputs["UserPoolClientId"], RefreshToken=refresh_token
        )["AuthenticationResult"]
    )


def _refresh(stack: Stack, refresh_token: str, *, rotates: bool) -> dict[str, Any]:
    """Refresh; what comes without a new refresh token keeps the old one."""
    tokens = (_by_rotation if rotates else _by_flow)(stack, refresh_token)
    tokens = {"RefreshToken": refresh_token} | tokens
    for name in ("IdToken", "AccessToken", "RefreshToken"):
        stack.keep_secret("a token", tokens[name])
    return tokens


@check(
    "a refresh brings new tokens, and the next refresh token works",
    advice="Rotation needs Cognito's Essentials plan: look at the pool's plan and its client.",
    needs=(anybody_signs_in,),
)
def refresh_brings_tokens(stack: Stack, signed_in: SignedIn) -> dict[str, Any]:
    rotates = _rotates(stack)
    tokens = signed_in.tokens
    for _ in range(2):
        old, tokens = tokens, _refresh(stack, tokens["RefreshToken"], rotates=rotates)
        require_own_tokens(stack, tokens, signed_in.mailed.user.sub, ("IdToken", "AccessToken"))
        require(tokens["AccessToken"] != old["AccessToken"], "the access token is the old one")
        renewed = tokens["RefreshToken"] != old["RefreshToken"]
        require(renewed or not rotates, "no new refresh token came")
    return tokens


@check(
    "where refresh tokens rotate, no flow goes around that",
    advice="The client must not have ALLOW_REFRESH_TOKEN_AUTH: deploy the stack again.",
    needs=(refresh_brings_tokens,),
)
def rotation_is_the_only_way(stack: Stack, tokens: dict[str, Any]) -> None:
    if _rotates(stack):
        require_refused(
            lambda: _by_flow(stack, tokens["RefreshToken"]),
            _REFUSALS,
            "REFRESH_TOKEN_AUTH brought tokens",
        )


@check(
    "signing out ends the refresh token and the access token",
    advice="Token revocation must be on for the client: deploy the stack again.",
    needs=(refresh_brings_tokens,),
)
def sign_out_ends_it(stack: Stack, tokens: dict[str, Any]) -> None:
    stack.public_cognito.revoke_token(
        ClientId=stack.outputs["UserPoolClientId"], Token=tokens["RefreshToken"]
    )
    rotates = _rotates(stack)
    require(
        _refused_soon(lambda: _refresh(stack, tokens["RefreshToken"], rotates=rotates)),
        "the refresh token still works",
    )
    require(
        _refused_soon(lambda: stack.public_cognito.get_user(AccessToken=tokens["AccessToken"])),
        "GetUser still takes the access token",
    )


def _refused_soon(call: Callable[[], Any]) -> bool:
    """Tell whether a call is refused, at once or once all of Cognito knows."""
    deadline = time.monotonic() + _REVOKED_SECONDS
    while time.monotonic() < deadline:
        try:
            call()
        except ClientError as error:
            if code_of(error) in THROTTLED:
                raise
            return code_of(error) in _REFUSALS
        time.sleep(1)
    return False
