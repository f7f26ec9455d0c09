"""The pool and its client, property by property: MiniStack enforces few of them."""

from typing import Any

import pytest

from tests.support.template import Template, synthesise


@pytest.fixture
def pool(aws: Template) -> dict[str, Any]:
    return dict(aws.only("AWS::Cognito::UserPool")["Properties"])


@pytest.fixture
def client(aws: Template) -> dict[str, Any]:
    return dict(aws.only("AWS::Cognito::UserPoolClient")["Properties"])


def test_users_sign_in_by_email_in_any_case(pool: dict[str, Any]) -> None:
    assert pool["UsernameAttributes"] == ["email"]
    assert "AliasAttributes" not in pool
    assert pool["UsernameConfiguration"] == {"CaseSensitive": False}


def test_every_user_has_an_address_and_it_can_be_marked_as_verified(pool: dict[str, Any]) -> None:
    """Verify writes the address along with the mark; Cognito refuses that for an immutable one."""
    assert pool["Schema"] == [{"Name": "email", "Required": True, "Mutable": True}]


def test_there_is_no_self_sign_up(pool: dict[str, Any]) -> None:
    assert pool["AdminCreateUserConfig"] == {"AllowAdminCreateUserOnly": True}


def test_pool_begins_without_users(aws: Template) -> None:
    kinds = {each["Type"] for each in aws.body["Resources"].values()}
    assert {each for each in kinds if each.startswith("AWS::Cognito::")} == {
        "AWS::Cognito::UserPool",
        "AWS::Cognito::UserPoolClient",
    }


def test_no_account_recovery_by_mail(pool: dict[str, Any]) -> None:
    assert pool["AccountRecoverySetting"]["RecoveryMechanisms"] == [
        {"Name": "admin_only", "Priority": 1}
    ]


def test_nothing_is_verified_automatically(pool: dict[str, Any]) -> None:
    assert pool["AutoVerifiedAttributes"] == []


def test_the_three_triggers_and_no_other(aws: Template, pool: dict[str, Any]) -> None:
    handlers = {
        trigger: aws.body["Resources"][arn["Fn::GetAtt"][0]]["Properties"]["Handler"]
        for trigger, arn in pool["LambdaConfig"].items()
    }
    assert handlers == {
        "DefineAuthChallenge": "lambdas.define_auth_challenge.handler",
        "CreateAuthChallenge": "lambdas.create_auth_challenge.handler",
        "VerifyAuthChallengeResponse": "lambdas.verify_auth_challenge_response.handler",
    }


def test_only_this_pool_may_call_the_triggers(aws: Template) -> None:
    pool_arn = aws.arn(aws.only("AWS::Cognito::UserPool"))
    sweep = "events.amazonaws.com"  # its own test is in test_forgetting.py
    permissions = [
        each
        for each in aws.resources("AWS::Lambda::Permission").values()
        if each["Properties"]["Principal"] != sweep
    ]
    assert len(permissions) == 3
    for permission in permissions:
        assert permission["Properties"]["Principal"] == "cognito-idp.amazonaws.com"
        assert permission["Properties"]["SourceArn"] == pool_arn


def test_pool_is_kept_unless_told_otherwise_or_the_first_deploy_fails(
    aws: Template, tuned: Template
) -> None:
    """A pool that is protected would resist the end of a deploy that failed."""
    kept, gone = aws.only("AWS::Cognito::UserPool"), tuned.only("AWS::Cognito::UserPool")
    assert (kept["DeletionPolicy"], kept["UpdateReplacePolicy"]) == (
        "RetainExceptOnCreate",
        "Retain",
    )
    assert gone["DeletionPolicy"] == "Delete"
    for pool in (kept, gone):
        assert pool["Properties"].get("DeletionProtection", "INACTIVE") == "INACTIVE"


def test_protected_pool_resists_deletion_by_hand(protected: Template) -> None:
    pool = protected.only("AWS::Cognito::UserPool")
    assert pool["DeletionPolicy"] == "RetainExceptOnCreate"
    assert pool["Properties"]["DeletionProtection"] == "ACTIVE"


def test_pool_pins_its_issuer_and_the_cheapest_plan_that_does(
    pool: dict[str, Any], tuned: Template
) -> None:
    """Rotation needs Essentials. What new pools get by default may change, these do not."""
    assert pool["IssuerConfiguration"] == {"Type": "ORIGINAL"}
    assert pool["UserPoolTier"] == "ESSENTIALS"
    without_rotation = tuned.only("AWS::Cognito::UserPool")["Properties"]
    assert without_rotation["UserPoolTier"] == "LITE"


def test_custom_auth_is_the_only_flow(client: dict[str, Any]) -> None:
    assert client["ExplicitAuthFlows"] == ["ALLOW_CUSTOM_AUTH"]


def test_no_oauth_and_no_other_provider(client: dict[str, Any]) -> None:
    assert client["AllowedOAuthFlowsUserPoolClient"] is False
    assert "AllowedOAuthFlows" not in client
    assert "CallbackURLs" not in client
    assert client["SupportedIdentityProviders"] == ["COGNITO"]


def test_client_is_public(client: dict[str, Any]) -> None:
    assert client["GenerateSecret"] is False


def test_client_does_not_tell_who_exists(client: dict[str, Any]) -> None:
    assert client["PreventUserExistenceErrors"] == "ENABLED"


def test_guest_may_write_name_and_locale_alone(client: dict[str, Any]) -> None:
    """T31: nobody takes another's address, or marks it verified, by writing it."""
    assert set(client["WriteAttributes"]) == {"name", "locale"}
    assert set(client["ReadAttributes"]) == {"email", "email_verified", "name", "locale"}


def test_token_lives(client: dict[str, Any], tuned: Template) -> None:
    assert client["TokenValidityUnits"] == dict.fromkeys(
        ("AccessToken", "IdToken", "RefreshToken"), "minutes"
    )
    assert client["AccessTokenValidity"] == client["IdTokenValidity"] == 15
    assert client["RefreshTokenValidity"] == 30 * 24 * 60
    other = tuned.only("AWS::Cognito::UserPoolClient")["Properties"]
    assert other["AccessTokenValidity"] == other["IdTokenValidity"] == 5
    assert other["RefreshTokenValidity"] == 7 * 24 * 60


def test_tokens_can_be_revoked(client: dict[str, Any]) -> None:
    assert client["EnableTokenRevocation"] is True


def test_refresh_tokens_rotate_and_two_tabs_may_refresh_at_once(client: dict[str, Any]) -> None:
    """T29."""
    assert client["RefreshTokenRotation"] == {"Feature": "ENABLED", "RetryGracePeriodSeconds": 60}


def test_without_rotation_the_refresh_flow_is_there_instead(tuned: Template) -> None:
    client = tuned.only("AWS::Cognito::UserPoolClient")["Properties"]
    assert "RefreshTokenRotation" not in client
    assert set(client["ExplicitAuthFlows"]) == {"ALLOW_CUSTOM_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"}


@pytest.mark.parametrize(("ttl_seconds", "minutes"), [(60, 3), (121, 4), (240, 5)])
def test_session_outlives_the_code_by_a_minute(ttl_seconds: int, minutes: int) -> None:
    template = synthesise(code_ttl_seconds=ttl_seconds)
    client = template.only("AWS::Cognito::UserPoolClient")["Properties"]
    assert client["AuthSessionValidity"] == minutes


def test_session_validity_of_the_default_and_the_longest_code(
    aws: Template, tuned: Template
) -> None:
    clients = [each.only("AWS::Cognito::UserPoolClient")["Properties"] for each in (aws, tuned)]
    assert [client["AuthSessionValidity"] for client in clients] == [6, 11]
