"""AWS clients, each of which makes one try: `calls.py` decides about the next."""

import logging
from functools import cache
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from lambdas.email_otp.calls import (
    CONNECT_TIMEOUT_SECONDS,
    MAIL_READ_TIMEOUT_SECONDS,
    READ_TIMEOUT_SECONDS,
)

if TYPE_CHECKING:
    from types_boto3_cognito_idp import CognitoIdentityProviderClient
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_secretsmanager import SecretsManagerClient
    from types_boto3_sesv2 import SESV2Client

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
    """Make the mailer's client."""
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
