"""What AWS does badly: down, slow, throttled. One fixed text, and fails closed."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace

import pytest
from botocore.exceptions import ConnectionClosedError, ConnectTimeoutError, ReadTimeoutError

from lambdas.email_otp import calls, clients
from lambdas.email_otp.answering import Answerer
from lambdas.email_otp.challenge import LONG_CODE_DIGITS
from lambdas.email_otp.code_key import CodeKeys
from lambdas.email_otp.errors import TriggerError
from lambdas.email_otp.issuing import Issuer
from lambdas.email_otp.ledger import Ledger
from lambdas.email_otp.mailer import Mailer
from tests.support.aws_stand_in import COUNT_MAIL, COUNT_MAILBOX, SECRET_ARN, TABLE, StandIn, refuse
from tests.support.clock import Clock, Passing
from tests.support.triggers import (
    ADA,
    CONTEXT,
    EVENTS_ISSUED_AT,
    NEWCOMER,
    Lambdas,
    aws_clients,
    real_session,
    started,
    wrong,
)

SERVICE = r"^AUTH_SERVICE_ERROR$"
DELIVERY = r"^ERR_EMAIL_DELIVERY_FAILED$"
DEADLINE_SECONDS = 4


def unreachable() -> None:
    """Fail as if nobody answered."""
    raise ConnectTimeoutError(endpoint_url="https://ada@example.com")


def connection_closed() -> None:
    """Fail as a kept connection does that died meanwhile."""
    raise ConnectionClosedError(endpoint_url="https://dynamodb.us-east-1.amazonaws.com")


@pytest.fixture
def hanging_endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Listen where connections are taken and never answered; time passes as it does."""
    monkeypatch.setattr("lambdas.email_otp.deadline.time", time)
    monkeypatch.setattr("lambdas.email_otp.calls.time", time)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def hang(lambdas: Lambdas, hanging_endpoint: str, clock: Clock) -> Callable[[str], Lambdas]:
    """Make triggers one of whose services hangs: the real client, on a real socket."""

    def with_hanging(service: str) -> Lambdas:
        dynamodb, ses, secrets_manager, _ = aws_clients(short_cut=False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(clients, "session", real_session)
            patch.setenv("AWS_ENDPOINT_URL", hanging_endpoint)
            match service:
                case "dynamodb":
                    dynamodb = clients.dynamodb()
                case "ses":
                    ses = clients.ses()
                case "secretsmanager":
                    secrets_manager = clients.secrets_manager()
        ledger = Ledger(dynamodb, TABLE, code_ttl_seconds=300, clock=clock)
        mailer = Mailer(ses, sender="login@example.com", app_name="App", code_ttl_seconds=300)
        keys = CodeKeys(secrets_manager, SECRET_ARN)
        lambdas.ledger = ledger
        lambdas.issuer = Issuer(ledger, mailer, keys, lambdas.settings)
        lambdas.verify_keys = keys
        lambdas.answerer = Answerer(ledger, keys, code_ttl_seconds=300)
        return lambdas

    return with_hanging


def _seconds(call: Callable[[], object]) -> float:
    started = time.monotonic()
    call()
    return time.monotonic() - started


@pytest.mark.parametrize(
    "service",
    ["secretsmanager", "dynamodb"],
)
def test_create_gives_up_in_time_when_a_service_hangs(
    hang: Callable[[str], Lambdas], aws: StandIn, service: str
) -> None:
    """T11, T12, T14: slow, longer than Cognito waits; no mail without a record."""
    lambdas = hang(service)

    def create() -> None:
        with pytest.raises(TriggerError, match=SERVICE):
            lambdas.create(ADA.first_round())

    assert _seconds(create) < DEADLINE_SECONDS
    assert aws.mails == []


def test_t44_mail_that_ses_does_not_confirm_counts_as_on_its_way(
    lambdas: Lambdas, aws: StandIn, hang: Callable[[str], Lambdas], clock: Clock
) -> None:
    """It was perhaps sent: the guest hears so, and 4 s later the same code is mailed once more."""
    issuer = lambdas.issuer
    slow = hang("ses")
    created: list[dict[str, dict[str, str]]] = []
    assert _seconds(lambda: created.append(slow.create(ADA.first_round()))) < DEADLINE_SECONDS
    assert created[0]["publicChallengeParameters"]["status"] == "sent"
    lambdas.issuer = issuer
    clock.now += 3
    lambdas.create(ADA.first_round())
    assert aws.mails == []
    clock.now += 1
    again = lambdas.create(ADA.first_round())
    [mail] = aws.mails
    assert again["publicChallengeParameters"] == created[0]["publicChallengeParameters"]
    for begun in (created[0], again):
        assert lambdas.verify(ADA.answer(begun, mail.code)) is (begun is created[0])


@pytest.mark.parametrize("service", ["secretsmanager", "dynamodb"])
def test_verify_gives_up_in_time_and_fails_closed_when_a_service_hangs(
    lambdas: Lambdas, aws: StandIn, hang: Callable[[str], Lambdas], service: str
) -> None:
    """T12, T14: the right answer is not right while nothing can confirm it."""
    created = lambdas.create(ADA.first_round())
    event = ADA.answer(created, aws.mails[0].code)
    slow = hang(service)

    def verify() -> None:
        with pytest.raises(TriggerError, match=SERVICE):
            slow.verify(event)

    assert _seconds(verify) < DEADLINE_SECONDS


def test_sign_in_succeeds_in_time_when_marking_the_address_hangs(
    lambdas: Lambdas, aws: StandIn, hanging_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = lambdas.create(ADA.first_round())
    monkeypatch.setattr(clients, "session", real_session)
    monkeypatch.setenv("AWS_ENDPOINT_URL", hanging_endpoint)
    monkeypatch.setattr(clients, "cognito", clients.cognito.__wrapped__)
    correct: list[bool] = []
    event = ADA.answer(created, aws.mails[0].code)
    assert _seconds(lambda: correct.append(lambdas.verify(event))) < DEADLINE_SECONDS
    assert correct == [True]


START_SECONDS = 0.4
"""What a process takes to be ready, rounded up; `make bench` measures it."""


class Slow:
    """Every service only just answers; a process connects once to each.

    Attributes:
        elapsed: seconds since the process was ready.
    """

    def __init__(self, aws: StandIn) -> None:
        self.elapsed = 0.0
        self._connected: set[str] = set()
        for operation, service in {
            "GetSecretValue": "secretsmanager",
            "UpdateItem": "dynamodb",
            COUNT_MAIL: "dynamodb",
            COUNT_MAILBOX: "dynamodb",
            "SendEmail": "ses",
            "AdminUpdateUserAttributes": "cognito",
        }.items():
            aws.faults[operation] = partial(self._take, service)

    def _take(self, service: str) -> None:
        mail = service == "ses"
        self.elapsed += calls.MAIL_READ_TIMEOUT_SECONDS if mail else calls.READ_TIMEOUT_SECONDS
        if service not in self._connected:
            self._connected.add(service)
            self.elapsed += calls.CONNECT_TIMEOUT_SECONDS


@pytest.fixture
def slow(aws: StandIn, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Slow]:
    """Return a function that makes all services slow from then on."""

    def from_now_on() -> Slow:
        services = Slow(aws)
        clock = SimpleNamespace(monotonic=lambda: services.elapsed)
        monkeypatch.setattr("lambdas.email_otp.deadline.time", clock)
        monkeypatch.setattr("lambdas.email_otp.calls.time", clock)
        monkeypatch.setattr("lambdas.email_otp.deadline._process_started_at", -START_SECONDS)
        return services

    return from_now_on


def test_create_stays_in_time_when_every_service_only_just_answers(
    aws: StandIn, slow: Callable[[], Slow]
) -> None:
    """T11, T12: the sum of all time-outs."""
    services = slow()
    Lambdas(Clock(EVENTS_ISSUED_AT)).create(NEWCOMER.first_round())
    assert len(aws.mails) == 1
    assert START_SECONDS + services.elapsed < DEADLINE_SECONDS


@pytest.mark.parametrize("quick", ["", "GetSecretValue"])
def test_new_process_stays_in_time_when_services_only_just_answer(
    quick: str, aws: StandIn, slow: Callable[[], Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    """T11, T12: with what it calls before the first event."""
    services = slow()
    aws.faults.pop(quick, None)
    create = started("create_auth_challenge", monkeypatch)
    create.handler(NEWCOMER.first_round(), CONTEXT)
    assert len(aws.mails) == 1
    assert START_SECONDS + services.elapsed < DEADLINE_SECONDS


def test_verify_stays_in_time_when_every_service_only_just_answers(
    lambdas: Lambdas, aws: StandIn, slow: Callable[[], Slow]
) -> None:
    """T12: the sum of all time-outs."""
    event = NEWCOMER.answer(lambdas.create(NEWCOMER.first_round()), aws.mails[0].code)
    services = slow()
    assert Lambdas(Clock(EVENTS_ISSUED_AT)).verify(event)
    assert START_SECONDS + services.elapsed < DEADLINE_SECONDS


def test_mail_that_would_be_late_is_not_begun(
    lambdas: Lambdas, aws: StandIn, clock: Clock, slow: Callable[[], Slow]
) -> None:
    """T11, T12: the longest way there is, to mail a long code once more under an older key."""
    created = lambdas.create(ADA.first_round())
    for _ in range(10):
        lambdas.verify(ADA.answer(created, "0"))
    clock.now += 600
    aws.faults["SendEmail"] = refuse("MessageRejected")
    with pytest.raises(TriggerError, match=DELIVERY):
        lambdas.create(ADA.first_round())
    aws.rotate_key()
    aws.mails.clear()
    aws.calls.clear()

    services = slow()
    with pytest.raises(TriggerError, match=DELIVERY):
        Lambdas(clock).create(ADA.first_round())
    assert "SendEmail" not in aws.calls
    assert START_SECONDS + services.elapsed < DEADLINE_SECONDS

    aws.faults.clear()
    clock.now += 4
    again = lambdas.create(ADA.first_round())
    [mail] = aws.mails
    assert len(mail.code) == LONG_CODE_DIGITS
    assert lambdas.verify(ADA.answer(again, mail.code))


@pytest.mark.parametrize(
    ("operation", "code", "text"),
    [
        ("GetSecretValue", "ResourceNotFoundException", SERVICE),
        ("GetSecretValue", "AccessDeniedException", SERVICE),
        ("UpdateItem", "ThrottlingException", SERVICE),
        ("UpdateItem", "ProvisionedThroughputExceededException", SERVICE),
        ("UpdateItem", "InternalServerError", SERVICE),
        (COUNT_MAIL, "ThrottlingException", SERVICE),
        (COUNT_MAIL, "ProvisionedThroughputExceededException", SERVICE),
        (COUNT_MAIL, "InternalServerError", SERVICE),
        ("SendEmail", "MessageRejected", DELIVERY),
        ("SendEmail", "MailFromDomainNotVerifiedException", DELIVERY),
        ("SendEmail", "TooManyRequestsException", DELIVERY),
        ("SendEmail", "SendingPausedException", DELIVERY),
    ],
)
def test_create_tells_a_fixed_text_and_nothing_of_the_cause(
    lambdas: Lambdas, aws: StandIn, operation: str, code: str, text: str
) -> None:
    """T11, T12, T14: AWS's own texts quote addresses; none is passed on or chained."""
    aws.faults[operation] = refuse(code, 500 if code.startswith("Internal") else 400)
    with pytest.raises(TriggerError, match=text) as raised:
        lambdas.create(ADA.first_round())
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    assert aws.mails == []


@pytest.mark.parametrize("operation", ["GetSecretValue", "UpdateItem", COUNT_MAIL, "SendEmail"])
def test_create_tells_a_fixed_text_when_nobody_answers(
    lambdas: Lambdas, aws: StandIn, operation: str
) -> None:
    """T11, T12, T14."""
    aws.faults[operation] = unreachable
    with pytest.raises(TriggerError, match=DELIVERY if operation == "SendEmail" else SERVICE):
        lambdas.create(ADA.first_round())


@pytest.mark.parametrize("fault", [refuse("ThrottlingException"), unreachable])
def test_verify_fails_closed(lambdas: Lambdas, aws: StandIn, fault: Callable[[], None]) -> None:
    """T12: what the write does not confirm is refused, and the right answer works later."""
    created = lambdas.create(ADA.first_round())
    event = ADA.answer(created, aws.mails[0].code)
    aws.faults["UpdateItem"] = fault
    with pytest.raises(TriggerError, match=SERVICE):
        lambdas.verify(event)
    aws.faults.clear()
    assert lambdas.verify(event) is True


def test_next_sign_in_after_a_fault_is_well(lambdas: Lambdas, aws: StandIn) -> None:
    """T11: a refused mail is tried again at once by the next first round, with the same code."""
    aws.faults["SendEmail"] = refuse("MessageRejected")
    with pytest.raises(TriggerError):
        lambdas.create(ADA.first_round())
    aws.faults.clear()
    created = lambdas.create(ADA.first_round())
    [mail] = aws.mails
    assert lambdas.verify(ADA.answer(created, mail.code)) is True


def test_mail_whose_record_fails_is_a_sent_mail(lambdas: Lambdas, aws: StandIn) -> None:
    """T12: the guest has the code, so the sign-in goes on."""

    def unnoted() -> None:
        aws.faults["UpdateItem"] = refuse("ThrottlingException")

    aws.after["SendEmail"] = unnoted
    created = lambdas.create(ADA.first_round())
    assert "UpdateItem" in aws.faults
    aws.faults.clear()
    assert lambdas.verify(ADA.answer(created, aws.mails[0].code)) is True


def test_no_client_tries_again_by_itself() -> None:
    """It knows of no deadline."""
    for client in aws_clients(short_cut=False):
        assert client.meta.config.retries["total_max_attempts"] == 1


@pytest.mark.parametrize(
    "operation", ["GetSecretValue", COUNT_MAIL, COUNT_MAILBOX, "UpdateItem", "SendEmail"]
)
@pytest.mark.parametrize(
    "fault",
    [
        unreachable,
        connection_closed,
        refuse("ThrottlingException"),
        refuse("TooManyRequestsException", 429),
        refuse("InternalServerError", 500),
    ],
    ids=["unreachable", "closed", "throttled", "too many", "internal"],
)
def test_t44_sign_in_goes_on_though_a_call_fails(
    lambdas: Lambdas, aws: StandIn, operation: str, fault: Callable[[], None]
) -> None:
    """Each call that AWS says to try again, twice in a row, at every step of Create and Verify."""

    def fails(times: int = 2) -> Callable[[], None]:
        left = iter(range(times))

        def next_one() -> None:
            if next(left, None) is not None:
                fault()

        return next_one

    aws.faults[operation] = fails()
    created = lambdas.create(NEWCOMER.first_round())
    [mail] = aws.mails
    aws.faults[operation] = fails()
    assert lambdas.verify(NEWCOMER.answer(created, mail.code)) is True


@pytest.mark.parametrize("after", [0, 1])
def test_t44_each_write_of_a_sign_in_may_lose_its_answer(
    lambdas: Lambdas, aws: StandIn, after: int
) -> None:
    """One mail, one code, and the guest is in."""
    for operation in (COUNT_MAIL, COUNT_MAILBOX, "UpdateItem"):
        calls = iter(range(after + 1))

        def lost(calls: Iterator[int] = calls) -> None:
            if next(calls, None) == after:
                connection_closed()

        aws.after[operation] = lost
    created = lambdas.create(NEWCOMER.first_round())
    [mail] = aws.mails
    assert lambdas.verify(NEWCOMER.answer(created, wrong(mail.code))) is False
    assert lambdas.verify(NEWCOMER.answer(created, mail.code)) is True


def test_t44_mail_is_not_tried_again_once_it_may_have_gone(lambdas: Lambdas, aws: StandIn) -> None:
    def no_answer() -> None:
        raise ReadTimeoutError(endpoint_url="https://ada@example.com")

    aws.after["SendEmail"] = no_answer
    created = lambdas.create(ADA.first_round())
    [mail] = aws.mails
    assert aws.items[ADA.name]["delivery"] == {"S": "sending"}
    assert lambdas.verify(ADA.answer(created, mail.code)) is True


def test_metrics_of_a_failure_do_not_reach_the_next_call(
    lambdas: Lambdas, aws: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.faults["SendEmail"] = refuse("MessageRejected")
    with pytest.raises(TriggerError):
        lambdas.create(ADA.first_round())
    aws.faults.clear()
    capsys.readouterr()
    lambdas.create(ADA.first_round())
    [line] = [line for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    metric = json.loads(line)
    assert metric["CodeSent"] == [1.0]
    assert "TriggerFailed" not in metric


@pytest.mark.parametrize("lost", ["request", "reply"])
@pytest.mark.parametrize("operation", ["UpdateItem", COUNT_MAIL])
def test_connection_that_died_while_frozen_costs_nothing(
    lambdas: Lambdas, aws: StandIn, operation: str, lost: str
) -> None:
    at = aws.faults if lost == "request" else aws.after

    def closed() -> None:
        del at[operation]
        connection_closed()

    at[operation] = closed
    created = lambdas.create(ADA.first_round())
    assert created["publicChallengeParameters"]["status"] == "sent"
    [mail] = aws.mails
    if operation == "UpdateItem":
        at[operation] = closed
    assert lambdas.verify(ADA.answer(created, mail.code))
    assert operation not in at


def test_connections_that_keep_dying_are_given_up(
    lambdas: Lambdas, aws: StandIn, passing: Passing
) -> None:
    """Each time after a longer pause, and before the deadline."""
    began_at = passing.now
    aws.faults["UpdateItem"] = connection_closed
    with pytest.raises(TriggerError, match=SERVICE):
        lambdas.create(ADA.first_round())
    assert 3 < aws.calls.count("UpdateItem") < 20
    assert passing.now - began_at < DEADLINE_SECONDS
