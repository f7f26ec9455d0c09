"""The AWS clients of a sign-in."""

import logging

import boto3
import pytest
from botocore.config import Config

from agent.sign_in.clients import connect
from agent.sign_in.settings import Settings
from tests.support.fakes import CLIENT_ID, POOL_ID


def test_connect_tries_an_auth_call_once_and_pins_the_loggers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.NOTSET, logger="botocore")
    made: dict[str, Config] = {}

    def client(name: str, *, config: Config, **_: object) -> object:
        made[name] = config
        return object()

    session = boto3.Session(region_name="eu-west-1")
    monkeypatch.setattr(session, "client", client)
    connect(
        Settings(
            user_pool_id=POOL_ID,
            user_pool_client_id=CLIENT_ID,
            guests_table_name="guests",
            region="eu-west-1",
        ),
        session,
    )
    assert vars(made["cognito-idp"])["retries"] == {"total_max_attempts": 1}
    assert 15 < vars(made["cognito-idp"])["read_timeout"] < 20  # three runs of a trigger, 5 s each
    assert vars(made["dynamodb"])["read_timeout"] <= 3
    assert logging.getLogger("botocore").level == logging.INFO
