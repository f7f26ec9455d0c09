"""The AWS clients of a sign-in: how long each call may take, and how often it is tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from .capacity import CODE_ANSWER_THREADS, CODE_REQUEST_THREADS, READ_THREADS
from .observability import pin_library_loggers
from .settings import Settings

if TYPE_CHECKING:
    from types_boto3_cognito_idp import CognitoIdentityProviderClient
    from types_boto3_dynamodb import DynamoDBClient

_CALLS_AT_ONCE = READ_THREADS + CODE_REQUEST_THREADS + CODE_ANSWER_THREADS


def connect(
    settings: Settings, session: boto3.Session | None = None
) -> tuple[CognitoIdentityProviderClient, DynamoDBClient]:
    """Make the clients of Cognito and of the guests' table.

    Cognito's tries once: a second try would send a second mail or burn the `Session`. Cognito
    itself may take three runs of a trigger, 5 s each, to answer.

    Args:
        settings: The deployment.
        session: Other credentials than the environment's.
    """
    pin_library_loggers()
    session = session or boto3.Session(region_name=settings.region)
    cognito: CognitoIdentityProviderClient = session.client(
        "cognito-idp",
        endpoint_url=settings.endpoint_url,
        config=Config(
            connect_timeout=2,
            read_timeout=17,
            retries={"total_max_attempts": 1},
            max_pool_connections=_CALLS_AT_ONCE,
        ),
    )
    dynamodb: DynamoDBClient = session.client(
        "dynamodb",
        endpoint_url=settings.endpoint_url,
        config=Config(
            connect_timeout=2,
            read_timeout=3,
            retries={"total_max_attempts": 3, "mode": "standard"},
            max_pool_connections=_CALLS_AT_ONCE,
        ),
    )
    return cognito, dynamodb
