"""Refresh tokens under AWS's rules, beside MiniStack's own."""

import time
from typing import Any

import jwt
import pytest

from tests.support.deployment import Deployment
from tests.support.scripted_pool import ScriptedPool, refusal, refusal_by_rule

REUSED = "RefreshTokenReuseException: Refresh token reuse detected"
REVOKED = "NotAuthorizedException: Refresh Token has been revoked"


def rotating(pool: ScriptedPool, grace_seconds: int = 60, **settings: Any) -> ScriptedPool:
    return pool.with_client(
        RefreshTokenRotation={"Feature": "ENABLED", "RetryGracePeriodSeconds": grace_seconds},
        **settings,
    )


def revoke(pool: ScriptedPool, refresh_token: str) -> None:
    pool.aws.cognito.revoke_token(Token=refresh_token, ClientId=pool.client_id)


def test_refresh_token_has_a_successor_that_ends_when_it_does(
    strict: ScriptedPool, bare: ScriptedPool
) -> None:
    pool = rotating(strict)
    first = pool.sign_in()["RefreshToken"]
    time.sleep(1)
    second = pool.refresh(first)["RefreshToken"]
    third = pool.refresh(second)["RefreshToken"]

    assert len({first, second, third}) == 3
    ends = {
        jwt.decode(each, options={"verify_signature": False})["exp"]
        for each in (first, second, third)
    }
    assert len(ends) == 1
    without = rotating(bare)
    assert "RefreshToken" not in without.refresh(without.sign_in()["RefreshToken"]), (
        "MiniStack rotates: the rule can go"
    )


def test_used_token_lives_through_the_grace_period(
    strict: ScriptedPool, bare: ScriptedPool
) -> None:
    def again(pool: ScriptedPool, seconds: float) -> dict[str, Any]:
        pool = rotating(pool, grace_seconds=1)
        first = pool.sign_in()["RefreshToken"]
        pool.refresh(first)
        time.sleep(seconds)
        return pool.refresh(first)

    assert again(strict, 0)["RefreshToken"]
    assert refusal_by_rule(lambda pool: again(pool, 1.2), strict, bare) == REUSED


def test_of_two_successors_the_newer_one_refreshes(strict: ScriptedPool) -> None:
    """Two tabs that refresh at once, or an answer that was lost."""
    pool = rotating(strict)
    first = pool.sign_in()["RefreshToken"]
    older, newer = (pool.refresh(first)["RefreshToken"] for _ in range(2))

    assert refusal(lambda _: pool.refresh(older), strict) == REUSED
    assert pool.refresh(newer)["RefreshToken"]


@pytest.mark.parametrize("which", ["first", "newest"])
def test_first_and_newest_token_end_the_sign_in(strict: ScriptedPool, which: str) -> None:
    pool = rotating(strict)
    first = pool.sign_in()["RefreshToken"]
    newest = pool.refresh(pool.refresh(first)["RefreshToken"])["RefreshToken"]

    revoke(pool, first if which == "first" else newest)

    assert refusal(lambda _: pool.refresh(newest), strict) == REVOKED
    assert refusal(lambda _: pool.refresh(first), strict) == REVOKED


def test_token_between_first_and_newest_ends_nothing(strict: ScriptedPool) -> None:
    pool = rotating(strict)
    first = pool.sign_in()
    second = pool.refresh(first["RefreshToken"])["RefreshToken"]
    newest = pool.refresh(second)

    revoke(pool, second)

    pool.aws.cognito.get_user(AccessToken=newest["AccessToken"])
    assert pool.refresh(newest["RefreshToken"])


def test_what_is_no_refresh_token_of_the_client_revokes_nothing(
    strict: ScriptedPool, bare: ScriptedPool
) -> None:
    def revoke_others(pool: ScriptedPool) -> dict[str, Any]:
        tokens = pool.sign_in()
        claims = jwt.decode(tokens["RefreshToken"], options={"verify_signature": False})
        head, payload, _ = jwt.encode(claims, "x" * 32).split(".")
        revoke(pool, f"{head}.{payload}.c2lnbmVkIGJ5IG5vYm9keQ")
        revoke(pool.with_client(), tokens["RefreshToken"])
        revoke(pool, tokens["AccessToken"])
        return pool.refresh(tokens["RefreshToken"])

    assert revoke_others(strict)["AccessToken"]
    assert "revoked" in refusal(revoke_others, bare), "the rule can go"


def test_flow_without_successors_is_refused_under_rotation(
    strict: ScriptedPool, bare: ScriptedPool
) -> None:
    def old_flow(pool: ScriptedPool) -> None:
        flows = ["ALLOW_CUSTOM_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"]
        pool = rotating(pool, ExplicitAuthFlows=flows)
        pool.aws.cognito.initiate_auth(
            ClientId=pool.client_id,
            AuthFlow="REFRESH_TOKEN_AUTH",
            AuthParameters={"REFRESH_TOKEN": pool.sign_in()["RefreshToken"]},
        )

    assert "rotation" in refusal_by_rule(old_flow, strict, bare)


def test_refresh_token_ends(strict: ScriptedPool, bare: ScriptedPool) -> None:
    def late(pool: ScriptedPool) -> None:
        # Shorter than AWS allows: no test waits for an hour.
        pool = pool.with_client(
            RefreshTokenValidity=1, TokenValidityUnits={"RefreshToken": "seconds"}
        )
        refresh_token = pool.sign_in()["RefreshToken"]
        time.sleep(1.1)
        pool.refresh(refresh_token)

    expired = "NotAuthorizedException: Refresh Token has expired"
    assert refusal_by_rule(late, strict, bare) == expired


def test_clients_without_rotation_keep_their_token(strict: ScriptedPool) -> None:
    refresh_token = strict.sign_in()["RefreshToken"]

    assert "RefreshToken" not in strict.refresh(refresh_token)
    assert strict.refresh(refresh_token)["AccessToken"]


def test_deployed_client_rotates_as_its_template_says(stack: Deployment) -> None:
    described = stack.cognito.describe_user_pool_client(
        UserPoolId=stack.outputs["UserPoolId"], ClientId=stack.outputs["UserPoolClientId"]
    )
    assert described["UserPoolClient"]["RefreshTokenRotation"] == {
        "Feature": "ENABLED",
        "RetryGracePeriodSeconds": 60,
    }


@pytest.mark.parametrize("end", ["revoked", "disabled", "deleted"])
def test_ended_users_access_token_is_refused_by_ministack_itself(
    bare: ScriptedPool, end: str
) -> None:
    """No rule of ours: should a release of MiniStack forget it, one is needed."""
    tokens = bare.sign_in()
    bare.aws.cognito.get_user(AccessToken=tokens["AccessToken"])
    claims = jwt.decode(tokens["AccessToken"], options={"verify_signature": False})
    user = {"UserPoolId": bare.pool_id, "Username": claims["username"]}
    if end == "revoked":
        revoke(bare, tokens["RefreshToken"])
    elif end == "disabled":
        bare.aws.cognito.admin_disable_user(**user)
    else:
        bare.aws.cognito.admin_delete_user(**user)

    told = refusal(lambda pool: pool.aws.cognito.get_user(AccessToken=tokens["AccessToken"]), bare)
    assert told.split(":")[0] in {"NotAuthorizedException", "UserNotFoundException"}
