"""Least privilege, as MiniStack's IAM enforces it: what each role may and may not do."""

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.support.deployment import Deployment

_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")

type Clients = Callable[[str], Any]


def _clients_of(stack: Deployment, role_arn: str) -> Clients:
    """Return clients with the credentials of one role."""
    credentials = stack.client("sts").assume_role(RoleArn=role_arn, RoleSessionName="test")[
        "Credentials"
    ]
    return lambda service: boto3.client(
        service,
        endpoint_url=stack.outputs["endpoint_url"],
        region_name=stack.outputs["region"],
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
    )


@pytest.fixture(scope="module")
def agent(stack: Deployment) -> Clients:
    return _clients_of(stack, stack.outputs["AgentRoleArn"])


def test_agent_may_start_a_sign_in_and_read_a_guest(stack: Deployment, agent: Clients) -> None:
    address = stack.new_user()
    challenge = agent("cognito-idp").admin_initiate_auth(
        UserPoolId=stack.outputs["UserPoolId"],
        ClientId=stack.outputs["UserPoolClientId"],
        AuthFlow="CUSTOM_AUTH",
        AuthParameters={"USERNAME": address},
    )
    assert challenge["ChallengeParameters"]["status"] == "sent"
    found = agent("dynamodb").get_item(
        TableName=stack.outputs["GuestsTableName"], Key={"cognito_sub": {"S": "nobody"}}
    )
    assert "Item" not in found


type Attempt = Callable[[Clients, dict[str, str]], object]

ATTEMPTS: dict[str, Attempt] = {
    "list users": lambda to, out: to("cognito-idp").list_users(UserPoolId=out["UserPoolId"]),
    "read a user": lambda to, out: to("cognito-idp").admin_get_user(
        UserPoolId=out["UserPoolId"], Username="ada@example.com"
    ),
    "delete a user": lambda to, out: to("cognito-idp").admin_delete_user(
        UserPoolId=out["UserPoolId"], Username="ada@example.com"
    ),
    "change a user": lambda to, out: to("cognito-idp").admin_update_user_attributes(
        UserPoolId=out["UserPoolId"], Username="ada@example.com", UserAttributes=[]
    ),
    "start a sign-in": lambda to, out: to("cognito-idp").admin_initiate_auth(
        UserPoolId=out["UserPoolId"],
        ClientId=out["UserPoolClientId"],
        AuthFlow="CUSTOM_AUTH",
        AuthParameters={"USERNAME": "ada@example.com"},
    ),
    "read a guest": lambda to, out: to("dynamodb").get_item(
        TableName=out["GuestsTableName"], Key={"cognito_sub": {"S": "x"}}
    ),
    "read all guests": lambda to, out: to("dynamodb").scan(TableName=out["GuestsTableName"]),
    "delete a guest": lambda to, out: to("dynamodb").delete_item(
        TableName=out["GuestsTableName"], Key={"cognito_sub": {"S": "x"}}
    ),
    "read the ledger": lambda to, out: to("dynamodb").get_item(
        TableName=out["OtpLedgerTableName"], Key={"sub": {"S": "x"}}
    ),
    "forget in the ledger": lambda to, out: to("dynamodb").delete_item(
        TableName=out["OtpLedgerTableName"], Key={"sub": {"S": "x"}}
    ),
    "list secrets": lambda to, _out: to("secretsmanager").list_secrets(),
    "call a trigger": lambda to, out: to("lambda").invoke(
        FunctionName=out["VerifyAuthChallengeResponseFunctionName"]
    ),
    "send mail": lambda to, _out: to("sesv2").send_email(
        FromEmailAddress="login@example.com",
        Destination={"ToAddresses": ["ada@example.com"]},
        Content={"Simple": {"Subject": {"Data": "x"}, "Body": {"Text": {"Data": "x"}}}},
    ),
}
MAY = {
    "Agent": {"read a user", "start a sign-in", "read a guest"},
    "DefineAuthChallenge": set(),
    "CreateAuthChallenge": {"send mail"},
    "VerifyAuthChallengeResponse": {"change a user"},
    "ForgetUnanswered": {
        "read a user",
        "delete a user",
        "read a guest",
        "forget in the ledger",
        "delete a guest",  # not on AWS: MiniStack knows no dynamodb:LeadingKeys
    },
}


@pytest.fixture(scope="module")
def roles(stack: Deployment, agent: Clients) -> dict[str, Clients]:
    """Return clients by whose role they have."""
    triggers = MAY.keys() - {"Agent"}
    return {"Agent": agent} | {
        name: _clients_of(stack, stack.function(name)["Role"]) for name in triggers
    }


@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.parametrize("who", MAY)
def test_role_may_do_its_work_and_nothing_else(
    stack: Deployment, roles: dict[str, Clients], who: str, attempt: str
) -> None:
    error = ""
    try:
        ATTEMPTS[attempt](roles[who], stack.outputs)
    except ClientError as refused:
        error = refused.response["Error"]["Code"]
    assert (error not in _DENIED) is (attempt in MAY[who]), error
