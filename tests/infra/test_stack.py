"""The stack: tables, outputs, the agent's policy, and the construct in a foreign stack."""

import re

import aws_cdk as cdk
import pytest
from aws_cdk import aws_dynamodb as dynamodb

from infra.email_otp_user_pool import EmailOtpUserPool
from infra.settings import Settings, SettingsError
from infra.stack import EmailOtpStack
from tests.support.template import Template, synthesise

OUTPUTS = {
    "UserPoolId",
    "UserPoolClientId",
    "GuestsTableName",
    "OtpLedgerTableName",
    "DefineAuthChallengeFunctionName",
    "CreateAuthChallengeFunctionName",
    "VerifyAuthChallengeResponseFunctionName",
    "ForgetUnansweredFunctionName",
    "AgentPolicyArn",
    "MaxNewGuestsPerHour",
}


def test_outputs_are_the_contract(aws: Template, local: Template) -> None:
    assert set(aws.body["Outputs"]) == OUTPUTS
    assert set(local.body["Outputs"]) == OUTPUTS | {"AgentRoleArn"}
    assert local.body["Outputs"]["MaxNewGuestsPerHour"]["Value"] == "200"
    named = {
        name: aws.body["Resources"][output["Value"]["Ref"]]
        for name, output in aws.body["Outputs"].items()
        if name != "MaxNewGuestsPerHour"
    }
    assert named["UserPoolId"] == aws.only("AWS::Cognito::UserPool")
    assert named["UserPoolClientId"] == aws.only("AWS::Cognito::UserPoolClient")
    assert named["GuestsTableName"] == aws.table("cognito_sub")
    assert named["OtpLedgerTableName"] == aws.table("sub")
    assert named["AgentPolicyArn"] == aws.only("AWS::IAM::ManagedPolicy")
    for output, function in named.items():
        if output.endswith("FunctionName"):
            module = re.sub(r"(?<!^)(?=[A-Z])", "_", output.removesuffix("FunctionName")).lower()
            assert function["Properties"] == aws.function(module)


@pytest.mark.parametrize("key", ["sub", "cognito_sub"])
def test_tables_are_on_demand_recoverable_and_kept(
    aws: Template, tuned: Template, key: str
) -> None:
    table = aws.table(key)
    properties = table["Properties"]
    assert properties["AttributeDefinitions"] == [{"AttributeName": key, "AttributeType": "S"}]
    assert properties["BillingMode"] == "PAY_PER_REQUEST"
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    # A first deploy that fails takes it along, else it would be in the way of the next.
    assert table["DeletionPolicy"] == "RetainExceptOnCreate"
    assert table["UpdateReplacePolicy"] == "Retain"
    assert tuned.table(key)["DeletionPolicy"] == "Delete"


def test_ledger_items_lapse(aws: Template) -> None:
    assert aws.table("sub")["Properties"]["TimeToLiveSpecification"] == {
        "AttributeName": "expires_at",
        "Enabled": True,
    }


def test_guests_never_lapse(aws: Template) -> None:
    assert "TimeToLiveSpecification" not in aws.table("cognito_sub")["Properties"]


def test_guests_resist_deletion_by_hand_if_that_is_asked_for(
    aws: Template, tuned: Template, protected: Template
) -> None:
    enabled = [
        template.table("cognito_sub")["Properties"].get("DeletionProtectionEnabled", False)
        for template in (aws, tuned, protected)
    ]
    assert enabled == [False, False, True]
    assert protected.table("cognito_sub")["DeletionPolicy"] == "RetainExceptOnCreate"


def test_agent_policy_signs_in_and_keeps_guests_and_nothing_more(aws: Template) -> None:
    policy = aws.only("AWS::IAM::ManagedPolicy")["Properties"]
    assert policy["PolicyDocument"]["Statement"] == [
        {
            "Effect": "Allow",
            "Action": [
                "cognito-idp:AdminCreateUser",
                "cognito-idp:AdminGetUser",
                "cognito-idp:AdminInitiateAuth",
                "cognito-idp:AdminRespondToAuthChallenge",
                "cognito-idp:AdminSetUserPassword",
            ],
            "Resource": aws.arn(aws.only("AWS::Cognito::UserPool")),
        },
        {
            "Effect": "Allow",
            "Action": ["dynamodb:GetItem", "dynamodb:UpdateItem"],
            "Resource": aws.arn(aws.table("cognito_sub")),
        },
    ]
    assert not {"Roles", "Users", "Groups"} & set(policy)


def test_local_agent_role_has_the_agent_policy_alone(local: Template) -> None:
    role = local.body["Resources"][local.body["Outputs"]["AgentRoleArn"]["Value"]["Fn::GetAtt"][0]]
    assert role["Properties"]["ManagedPolicyArns"] == [
        local.body["Outputs"]["AgentPolicyArn"]["Value"]
    ]
    assert "Policies" not in role["Properties"]


def test_sender_identity_is_made_on_demand_alone(aws: Template, tuned: Template) -> None:
    assert not aws.resources("AWS::SES::EmailIdentity")
    identity = tuned.only("AWS::SES::EmailIdentity")["Properties"]
    assert identity["EmailIdentity"] == "login@example.com"


def test_key_and_logs_go_with_the_stack(aws: Template) -> None:
    for kind in ("AWS::SecretsManager::Secret", "AWS::Logs::LogGroup"):
        for resource in aws.resources(kind).values():
            assert resource["DeletionPolicy"] == "Delete"


def test_ministack_gets_neither_bootstrap_roles_nor_less_than_aws(
    aws: Template, local: Template
) -> None:
    def kinds(template: Template) -> list[str]:
        return sorted(each["Type"] for each in template.body["Resources"].values())

    assert kinds(local) == sorted([*kinds(aws), "AWS::IAM::Role"])
    assert "BootstrapVersion" in aws.body["Parameters"]
    assert "Parameters" not in local.body


def test_what_ministack_has_not_is_left_out_there(local: Template) -> None:
    """So one's settings may stand in cdk.json, which local deployments read too."""
    with_everything = synthesise(
        local=True,
        agent=True,
        web=True,
        model_id="offline",
        alarm_email="ops@example.com",
        waf=True,
    )
    assert with_everything.body == local.body


def test_what_is_laxer_for_ministack_goes_into_no_account_of_aws() -> None:
    """With an environment of its own, the CDK CLI refuses any other credentials."""
    local = EmailOtpStack(
        cdk.App(), "Local", settings=Settings(sender="login@example.com", local=True)
    )
    assert (local.account, local.region) == ("000000000000", "us-east-1")
    aws = EmailOtpStack(cdk.App(), "Aws", settings=Settings(sender="login@example.com"))
    assert cdk.Token.is_unresolved(aws.account)


def test_construct_drops_into_a_foreign_stack() -> None:
    app = cdk.App(analytics_reporting=False)
    stack = cdk.Stack(app, "Foreign")
    own_ledger = dynamodb.Table(
        stack,
        "OwnLedger",
        partition_key=dynamodb.Attribute(name="sub", type=dynamodb.AttributeType.STRING),
    )
    EmailOtpUserPool(stack, "SignIn", settings=Settings(sender="login@example.com"))
    EmailOtpUserPool(
        stack,
        "Second",
        settings=Settings(sender="login@example.com", code_length=8),
        ledger_table=own_ledger,
    )
    template = Template(app.synth().get_stack_by_name("Foreign").template)
    assert len(template.resources("AWS::Cognito::UserPool")) == 2
    assert len(template.resources("AWS::DynamoDB::Table")) == 2
    assert template.body.get("Outputs", {}) == {}
    environments = [
        function["Properties"]["Environment"]["Variables"]
        for function in template.resources("AWS::Lambda::Function").values()
    ]
    assert {each["POWERTOOLS_METRICS_NAMESPACE"] for each in environments} == {"Foreign"}


def test_construct_checks_its_inputs() -> None:
    stack = cdk.Stack(cdk.App(), "Foreign")
    with pytest.raises(SettingsError, match="code_length is 4: pass a whole number from 6 to 10"):
        EmailOtpUserPool(
            stack, "SignIn", settings=Settings(sender="login@example.com", code_length=4)
        )
