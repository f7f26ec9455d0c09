"""AWS clients, each of which makes one try: `calls.py` decides about the next."""

import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.loaders import Loader
from botocore.session import Session, get_session

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

_CUT_MODELS = Path(__file__).parents[2] / "models"


class _Models(Loader):
    """What AWS's services take and answer: as the bundle has it, cut to what is called.

    What it lacks, as all does where no bundle was built, is botocore's own.
    """

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002 - Loader's
        """Name the services of the clients below: to look through all of AWS's takes 10 ms."""
        return ["cognito-idp", "dynamodb", "secretsmanager", "sesv2"]

    def is_builtin_path(self, path: str) -> bool:  # noqa: ARG002 - Loader's
        """Say that the endpoints are botocore's, though cut: nobody has written their own."""
        return True


@cache
def session() -> Session:
    """Make the session, once a process: its clients share what it has read of AWS's models.

    It is botocore's, as boto3's would import what copies files to S3, for as long again.
    """
    made = get_session()
    made.register_component("data_loader", _Models(extra_search_paths=[str(_CUT_MODELS)]))
    return made


def dynamodb() -> "DynamoDBClient":
    """Make the ledger's client."""
    client: DynamoDBClient = _client("dynamodb", READ_TIMEOUT_SECONDS)
    return client


def secrets_manager() -> "SecretsManagerClient":
    """Make the code key's client."""
    client: SecretsManagerClient = _client("secretsmanager", READ_TIMEOUT_SECONDS)
    return client


def ses() -> "SESV2Client":
    """Make the mailer's client."""
    client: SESV2Client = _client("sesv2", MAIL_READ_TIMEOUT_SECONDS)
    return client


@cache
def cognito() -> "CognitoIdentityProviderClient":
    """Make the client that updates users, once a process."""
    client: CognitoIdentityProviderClient = _client("cognito-idp", READ_TIMEOUT_SECONDS)
    return client


def _client(service: str, read_timeout_seconds: float) -> Any:
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=read_timeout_seconds,
        retries={"total_max_attempts": 1},
    )
    return session().create_client(service, config=config)
