"""A sign-in on stand-ins for AWS, the same for all tests of the agent."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from agent.main import create_app
from agent.sign_in.cognito import Cognito
from agent.sign_in.creation_times import CreationTimes
from agent.sign_in.guests import GuestStore
from agent.sign_in.identity import KeySet, TokenVerifier
from agent.sign_in.login import LoginFlow
from agent.sign_in.newcomers import Newcomers
from agent.sign_in.turns import EmailOtp
from tests.support.clock import Clock
from tests.support.fakes import (
    CLIENT_ID,
    ISSUER,
    LOOPBACK,
    POOL_ID,
    FakeCognito,
    FakeDynamoDb,
    Signer,
)
from tests.support.logins import Logins
from tests.support.service import SETTINGS, Browser


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cognito(signer: Signer, clock: Clock) -> FakeCognito:
    return FakeCognito(signer, clock)


@pytest.fixture
def dynamodb() -> FakeDynamoDb:
    return FakeDynamoDb()


@pytest.fixture
def guests(dynamodb: FakeDynamoDb, clock: Clock) -> GuestStore:
    return GuestStore(dynamodb, "guests", clock)  # type: ignore[arg-type]


@pytest.fixture
def newcomers(dynamodb: FakeDynamoDb, clock: Clock) -> Newcomers:
    return Newcomers(dynamodb, "guests", limit=200, clock=clock)  # type: ignore[arg-type]


@pytest.fixture
def waits() -> list[float]:
    """Return how long was waited, instead of waiting."""
    return []


@pytest.fixture
def flow(
    cognito: FakeCognito,
    guests: GuestStore,
    newcomers: Newcomers,
    clock: Clock,
    waits: list[float],
) -> LoginFlow:
    pool = Cognito(
        cognito,  # type: ignore[arg-type]
        user_pool_id=POOL_ID,
        client_id=CLIENT_ID,
        newcomers=newcomers,
        creation_times=CreationTimes(now=clock, sleep=waits.append),
        clock=clock,
    )
    return LoginFlow(pool, guests, clock=clock)


@pytest.fixture
def login(flow: LoginFlow, clock: Clock) -> Logins:
    return Logins(flow, clock)


@pytest.fixture
def email_otp(flow: LoginFlow, guests: GuestStore, clock: Clock) -> EmailOtp:
    return EmailOtp(flow, guests, clock=clock)


@pytest.fixture
def verifier(signer: Signer, clock: Clock) -> TokenVerifier:
    keys = KeySet(lambda: signer.jwks, clock)
    return TokenVerifier(issuer=ISSUER, client_id=CLIENT_ID, keys=keys, clock=clock)


@pytest.fixture
def browser(email_otp: EmailOtp, verifier: TokenVerifier, clock: Clock) -> Iterator[Browser]:
    app = create_app(SETTINGS, email_otp=email_otp, verifier=verifier, clock=clock)
    with TestClient(app, base_url=LOOPBACK) as http:
        yield Browser(http)
