"""A sign-in on stand-ins for AWS, the same for all tests of the agent."""

import pytest

from agent.sign_in.guests import GuestStore
from agent.sign_in.login import EmailOtpLogin
from agent.sign_in.tools import EmailOtp
from tests.support.fakes import CLIENT_ID, POOL_ID, Clock, FakeCognito, FakeDynamoDb, Signer


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
def login(cognito: FakeCognito, guests: GuestStore, clock: Clock) -> EmailOtpLogin:
    return EmailOtpLogin(
        cognito,  # type: ignore[arg-type]
        guests,
        user_pool_id=POOL_ID,
        client_id=CLIENT_ID,
        clock=clock,
    )


@pytest.fixture
def email_otp(login: EmailOtpLogin, guests: GuestStore, clock: Clock) -> EmailOtp:
    return EmailOtp(login, guests, clock=clock)
