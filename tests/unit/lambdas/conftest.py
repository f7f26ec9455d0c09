"""What the tests of the triggers share: an AWS in memory, a clock, and the three triggers."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from lambdas.email_otp import clients
from tests.support import aws_stand_in
from tests.support.aws_stand_in import StandIn
from tests.support.clock import Clock, Passing
from tests.support.triggers import (
    ADA,
    ENVIRONMENT,
    EVENTS_ISSUED_AT,
    Event,
    Lambdas,
    aws_session,
    handler_modules,
)

# The same examples on every run, and none that depends on the machine's speed.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")

# Before the test modules, whose imports must find the triggers' environment.
handler_modules()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the triggers' environment, and nothing of the machine's."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.fixture(autouse=True)
def passing(monkeypatch: pytest.MonkeyPatch) -> Passing:
    """Let no pause last: neither before another try nor in the place of a mail."""
    time = Passing()
    monkeypatch.setattr("lambdas.email_otp.deadline.time", time)
    monkeypatch.setattr("lambdas.email_otp.calls.time", time)
    monkeypatch.setattr("lambdas.email_otp.pretence.time", time)
    monkeypatch.setattr("lambdas.email_otp.deadline._process_started_at", None)
    return time


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """Put an empty AWS under every client."""
    monkeypatch.setattr(clients, "session", aws_session)
    yield aws_stand_in.renew()
    aws_stand_in.renew()


@pytest.fixture
def clock() -> Clock:
    """Return the triggers' clock."""
    return Clock(EVENTS_ISSUED_AT)


@pytest.fixture
def lambdas(aws: StandIn, clock: Clock) -> Lambdas:  # noqa: ARG001 - it lies under the clients
    """Return a warm process of each trigger."""
    return Lambdas(clock)


@pytest.fixture
def created(lambdas: Lambdas, aws: StandIn) -> Event:
    """Mail Ada a code, and return what Create answered."""
    response = lambdas.create(ADA.first_round())
    aws.calls.clear()
    return response
