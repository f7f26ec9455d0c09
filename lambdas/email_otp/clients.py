"""AWS clients whose time-outs keep a trigger inside the 5 s that Cognito gives it.

Each makes one try: Cognito itself repeats a trigger that fails, and every step is safe to
repeat. However slow they are, Create begins no mail late (`issuing.MAIL_BY_SECONDS`), so that it
ends within 4 s, the process's start included.
Source: https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-working-with-lambda-triggers.html
"""

import logging
from functools import cache
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from types_boto3_cognito_idp import CognitoIdentityProviderClient
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_secretsmanager import SecretsManagerClient
    from types_boto3_sesv2 import SESV2Client

CONNECT_TIMEOUT_SECONDS = 0.3
READ_TIMEOUT_SECONDS = 0.4
MAIL_READ_TIMEOUT_SECONDS = 1.0

# At DEBUG it logs whole requests, so codes and addresses; a function's log level sets the root's.
logging.getLogger("botocore").setLevel(logging.WARNING)


def dynamodb() -> "DynamoDBClient":
    """Make the ledger's client."""
    client: DynamoDBClient = boto3.client("dynamodb", config=_config(READ_TIMEOUT_SECONDS))
    return client


def secrets_manager() -> "SecretsManagerClient":
    """Make the code key's client."""
    client: SecretsManagerClient = boto3.client(
        "secretsmanager", config=_config(READ_TIMEOUT_SECONDS)
    )
    return client


def ses() -> "SESV2Client":
    """Make the mailer's client: a second try could mail twice."""
    client: SESV2Client = boto3.client("sesv2", config=_config(MAIL_READ_TIMEOUT_SECONDS))
    return client


@cache
def cognito() -> "CognitoIdentityProviderClient":
    """Make the client that updates users, once a process: few answers need it, so not at start."""
    client: CognitoIdentityProviderClient = boto3.client(
        "cognito-idp", config=_config(READ_TIMEOUT_SECONDS)
    )
    return client


def _config(read_timeout_seconds: float) -> Config:
    return Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=read_timeout_seconds,
        retries={"total_max_attempts": 1},
    )
