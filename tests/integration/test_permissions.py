"""Least privilege, as MiniStack's IAM enforces it: what each role may not do."""

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.deployment import Deployment

_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")

type Clients = Callable[[str], Any]


def _clients_of(stack: Deployment, role_arn: str) -> Clients:
    """Clients with the credentials of one role."""
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


@pytest.mark.parametrize(
    "attempt",
    [
        lambda to, out: to("cognito-idp").list_users(UserPoolId=out["UserPoolId"]),
        lambda to, out: to("cognito-idp").admin_get_user(
            UserPoolId=out["UserPoolId"], Username="ada@example.com"
        ),
        lambda to, out: to("cognito-idp").admin_delete_user(
            UserPoolId=out["UserPoolId"], Username="ada@example.com"
        ),
        lambda to, out: to("dynamodb").scan(TableName=out["GuestsTableName"]),
        lambda to, out: to("dynamodb").delete_item(
            TableName=out["GuestsTableName"], Key={"cognito_sub": {"S": "x"}}
        ),
        lambda to, out: to("dynamodb").get_item(
            TableName=out["OtpLedgerTableName"], Key={"sub": {"S": "x"}}
        ),
        lambda to, _out: to("secretsmanager").list_secrets(),
        lambda to, out: to("lambda").invoke(
            FunctionName=out["VerifyAuthChallengeResponseFunctionName"]
        ),
        lambda to, _out: to("sesv2").send_email(
            FromEmailAddress="login@example.com",
            Destination={"ToAddresses": ["ada@example.com"]},
            Content={"Simple": {"Subject": {"Data": "x"}, "Body": {"Text": {"Data": "x"}}}},
        ),
    ],
    ids=[
        "list users",
        "read a user",
        "delete a user",
        "read all guests",
        "delete a guest",
        "read the ledger",
        "list secrets",
        "call a trigger",
        "send mail",
    ],
)
def test_agent_may_not(stack: Deployment, agent: Clients, attempt: Any) -> None:
    with pytest.raises(ClientError) as refused:
        attempt(agent, stack.outputs)
    assert refused.value.response["Error"]["Code"] in _DENIED
