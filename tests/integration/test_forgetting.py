"""T45: the sweep on MiniStack, whole, cut off at every step, twice at once and in races."""

import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lambdas.email_otp import forgetting
from lambdas.email_otp.forgetting import Forgetting
from tests.support.deployment import Deployment

HOUR = 3600
DUE_HOUR = int(time.time()) // HOUR - 30
"""It is due however long this takes, and no agent of other tests lists anybody under it."""


class Died(BaseException):
    """The function was killed."""


@dataclass
class Client:
    """A client that says when its calls begin and end; to it, users are a day older than they are.

    Attributes:
        before: Told of each call before it is made.
        after: Told of each call once it was made.
    """

    real: Any
    before: Callable[[str], None] = lambda _: None
    after: Callable[[str], None] = lambda _: None

    @property
    def exceptions(self) -> Any:
        """Return its errors by name."""
        return self.real.exceptions

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            self.before(method)
            answer = getattr(self.real, method)(**arguments)
            self.after(method)
            if method == "admin_get_user":
                answer["UserCreateDate"] -= timedelta(days=1)
            return answer

        return call


@dataclass
class Sweep:
    """The sweep over the stack, at the time it is, in this process."""

    stack: Deployment
    before: Callable[[str], None] = lambda _: None
    after: Callable[[str], None] = lambda _: None
    credentials: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """Run it once."""
        Forgetting(
            Client(self._client("cognito-idp"), self.before, self.after),  # type: ignore[arg-type]
            Client(self._client("dynamodb"), self.before, self.after),  # type: ignore[arg-type]
            user_pool_id=self.stack.outputs["UserPoolId"],
            guests_table_name=self.stack.outputs["GuestsTableName"],
            ledger_table_name=self.stack.outputs["OtpLedgerTableName"],
            after_hours=24,
            sleep=lambda _: None,
        ).run(lambda: 900)

    def _client(self, service: str) -> Any:
        if not self.credentials:
            return self.stack.client(service)
        return boto3.client(
            service,
            endpoint_url=self.stack.outputs["endpoint_url"],
            region_name=self.stack.outputs["region"],
            **self.credentials,  # type: ignore[arg-type]
        )


@pytest.fixture(autouse=True)
def no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count nothing: metrics belong to a handler's one thread."""
    monkeypatch.setattr(forgetting, "count", lambda _: None)


@pytest.fixture
def sweep(stack: Deployment) -> Sweep:
    return Sweep(stack)


def put_on_list(stack: Deployment, sub: str) -> None:
    """List a newcomer as the agent does."""
    stack.dynamodb.update_item(
        TableName=stack.outputs["GuestsTableName"],
        Key={"cognito_sub": {"S": f"newcomers#{DUE_HOUR}"}},
        UpdateExpression="ADD created :one, subs :sub",
        ExpressionAttributeValues={":one": {"N": "1"}, ":sub": {"SS": [sub]}},
    )


def put_into_ledger(stack: Deployment, key: str, **attributes: int) -> None:
    item = {name: {"N": str(value)} for name, value in attributes.items()}
    stack.dynamodb.put_item(
        TableName=stack.outputs["OtpLedgerTableName"], Item={"sub": {"S": key}, **item}
    )


def newcomer(stack: Deployment) -> tuple[str, str]:
    """Make a user as the agent does, who asked for a code and never answered."""
    address = stack.new_user()
    sub = stack.attributes(address)["sub"]
    put_on_list(stack, sub)
    sent_at = int(time.time()) - 26 * HOUR
    put_into_ledger(stack, sub, s0=sent_at, issued_at=sent_at)
    return address, sub


def items(stack: Deployment, table: str) -> list[dict[str, Any]]:
    pages = stack.dynamodb.get_paginator("scan").paginate(TableName=stack.outputs[table])
    return [item for page in pages for item in page["Items"]]


def traces(stack: Deployment, sub: str) -> set[str]:
    """Return where there is anything of a user."""
    found = {
        table
        for table in ("GuestsTableName", "OtpLedgerTableName")
        if any(sub in json.dumps(item) for item in items(stack, table))
    }
    try:
        stack.attributes(sub)
    except ClientError:
        return found
    return found | {"pool"}


def list_is_gone(stack: Deployment) -> bool:
    return not stack.guest_item(f"newcomers#{DUE_HOUR}")


def test_t45_newcomer_who_never_answered_is_gone_from_pool_tables_and_ledger(
    stack: Deployment, sweep: Sweep
) -> None:
    """T45: with a real mail, and a second newcomer who never got one."""
    address, sub = newcomer(stack)
    stack.initiate(address)
    other = stack.attributes(stack.new_user())["sub"]
    put_on_list(stack, other)
    stack.age_ledger(address, HOUR)
    sweep.run()
    assert traces(stack, sub) == traces(stack, other) == set()
    assert list_is_gone(stack)


def test_t45_forgotten_address_may_come_again(stack: Deployment, sweep: Sweep) -> None:
    """T45."""
    address, _ = newcomer(stack)
    sweep.run()
    stack.new_user(address)
    challenge = stack.initiate(address)
    assert "AuthenticationResult" in stack.respond(challenge, stack.code_mailed_to(address))


def test_t45_nobody_else_is_touched(stack: Deployment, sweep: Sweep) -> None:
    """T45: who signed in by the public API alone, who is about to, who is disabled, who was made.

    Each is listed, but for the last, whom an operator made.
    """
    subs = {}
    for who in ("signed in", "signed in, address not marked", "about to", "disabled", "made"):
        address = stack.new_user()
        subs[who] = sub = stack.attributes(address)["sub"]
        if who != "disabled":
            challenge = stack.initiate(address)
        if who.startswith("signed in"):
            assert "AuthenticationResult" in stack.respond(challenge, stack.code_mailed_to(address))
            stack.age_ledger(address, 26 * HOUR)
        if who == "signed in, address not marked":
            stack.change_user(address, email_verified="false")
        if who == "about to":
            stack.age_ledger(address, HOUR - 60)
        if who == "disabled":
            pool = stack.outputs["UserPoolId"]
            stack.cognito.admin_disable_user(UserPoolId=pool, Username=address)
        if who == "made":
            stack.age_ledger(address, 26 * HOUR)
        else:
            put_on_list(stack, sub)
    guest = stack.attributes(stack.new_user())["sub"]
    record = {"cognito_sub": {"S": guest}, "guest_id": {"S": "GST-2026-ABCDEF"}}
    stack.dynamodb.put_item(TableName=stack.outputs["GuestsTableName"], Item=record)
    put_on_list(stack, guest)
    ledger = {sub: _ledger_item(stack, sub) for sub in subs.values()}

    sweep.run()
    sweep.run()

    assert {who: traces(stack, sub) for who, sub in subs.items()} == {
        "signed in": {"pool", "OtpLedgerTableName"},
        "signed in, address not marked": {"pool", "OtpLedgerTableName"},
        "about to": {"pool", "OtpLedgerTableName", "GuestsTableName"},
        "disabled": {"pool"},
        "made": {"pool", "OtpLedgerTableName"},
    }
    assert {sub: _ledger_item(stack, sub) for sub in subs.values()} == ledger
    assert traces(stack, guest) == {"pool", "GuestsTableName"}
    assert stack.guest_item(guest) == record


def test_t45_mail_while_the_sweep_looks_at_a_user_keeps_them(stack: Deployment) -> None:
    """T45: the claim is refused, and the code of that mail signs in."""
    address, sub = newcomer(stack)
    challenges = []

    def ask_for_a_code(method: str) -> None:
        if method == "get_item":
            challenges.append(stack.initiate(address))

    Sweep(stack, before=ask_for_a_code).run()
    assert "pool" in traces(stack, sub)
    code = stack.code_mailed_to(address)
    assert "AuthenticationResult" in stack.respond(challenges[0], code)


def test_t45_no_code_goes_out_between_the_claim_and_the_end(stack: Deployment) -> None:
    """T45: who asks in that moment is not signed in, and then gone all the same."""
    address, sub = newcomer(stack)
    asked = []

    def ask_for_a_code(method: str) -> None:
        if method == "admin_delete_user":
            asked.append(stack.initiate(address))

    Sweep(stack, before=ask_for_a_code).run()
    assert asked
    assert not stack.mails_to(address)
    assert traces(stack, sub) == set()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_t45_killed_at_any_step_the_next_run_finishes(
    stack: Deployment, sweep: Sweep, moment: str
) -> None:
    """T45."""
    steps = 0
    for number in range(1, 100):
        subs = [newcomer(stack)[1] for _ in range(2)]
        left = iter(range(number - 1, -1, -1))

        def kill(_method: str, left: Iterator[int] = left) -> None:
            if next(left, None) == 0:
                raise Died

        killed = Sweep(stack, **{moment: kill})  # type: ignore[arg-type]
        try:
            killed.run()
        except Died:
            sweep.run()
            steps += 1
        assert [traces(stack, sub) for sub in subs] == [set(), set()], number
        assert list_is_gone(stack)
        if steps < number:
            break
    # Four reads; of each newcomer two reads, claim, user, item and their place; and the list.
    assert steps >= 17


def test_t45_lost_and_throttled_calls_are_made_again(
    stack: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T44, T45: with the function's own clients."""
    _, sub = newcomer(stack)
    monkeypatch.setenv("AWS_ENDPOINT_URL", stack.outputs["endpoint_url"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", stack.outputs["region"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    cognito, dynamodb = forgetting.connect()
    clients = {"cognito-idp": cognito, "dynamodb": dynamodb}
    once = [
        ("dynamodb", "throttle", "BatchGetItem"),
        ("cognito-idp", "throttle", "AdminGetUser"),
        ("dynamodb", "lose_answer", "UpdateItem"),
        ("cognito-idp", "lose_answer", "AdminDeleteUser"),
        ("dynamodb", "throttle", "DeleteItem"),
    ]
    faults = [
        {"service": service, "fault": fault, "operation": operation, "calls": [1]}
        for service, fault, operation in once
    ]
    monkeypatch.setattr(Sweep, "_client", lambda _sweep, service: clients[service])
    with stack.switched(faults=faults):
        Sweep(stack).run()
    assert traces(stack, sub) == set()


def test_t45_two_sweeps_at_once_are_one(stack: Deployment) -> None:
    """T45."""
    subs = [newcomer(stack)[1] for _ in range(20)]
    together = threading.Barrier(2)

    def run(_: int) -> None:
        together.wait()
        Sweep(stack).run()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(run, range(2)))
    assert [traces(stack, sub) for sub in subs] == [set()] * 20
    assert list_is_gone(stack)


def test_t45_guest_who_signs_in_during_a_sweep_stays_or_was_never_signed_in(
    stack: Deployment,
) -> None:
    """T45: the first asks before it begins, the last once it is over, the others at any moment."""
    decided = {"stayed": 0, "gone": 0}

    def sign_in(address: str, begin: Callable[[], object]) -> bool:
        begin()
        try:
            challenge = stack.initiate(address)
            if not stack.mails_to(address):
                return False
            answer = stack.respond(challenge, stack.code_mailed_to(address))
        except ClientError:
            return False  # gone
        return "AuthenticationResult" in answer

    def sweep_slowly() -> None:
        Sweep(stack, before=lambda method: soon() if method == "admin_get_user" else None).run()

    for _ in range(5):
        guests = [newcomer(stack) for _ in range(6)]
        addresses = [address for address, _ in guests]
        challenge = stack.initiate(addresses[0])
        with ThreadPoolExecutor(8) as threads:
            swept = threads.submit(sweep_slowly)
            signing_in = [
                threads.submit(sign_in, address, begin)
                for address, begin in zip(addresses[1:], [soon] * 4 + [swept.result], strict=True)
            ]
            answer = stack.respond(challenge, stack.code_mailed_to(addresses[0]))
            signed_in = ["AuthenticationResult" in answer, *[each.result() for each in signing_in]]
        for (_, sub), has_signed_in in zip(guests, signed_in, strict=True):
            assert ("pool" in traces(stack, sub)) is has_signed_in
            decided["stayed" if has_signed_in else "gone"] += 1
    assert min(decided.values()) >= 5


def soon() -> None:
    """Wait a moment, never the same."""
    time.sleep(random.random() * 0.2)  # noqa: S311


@pytest.fixture
def role(stack: Deployment) -> dict[str, str]:
    """Return the credentials of the function's role."""
    credentials = stack.client("sts").assume_role(
        RoleArn=stack.function("ForgetUnanswered")["Role"], RoleSessionName="test"
    )["Credentials"]
    return {
        "aws_access_key_id": credentials["AccessKeyId"],
        "aws_secret_access_key": credentials["SecretAccessKey"],
        "aws_session_token": credentials["SessionToken"],
    }


def test_role_is_all_that_a_sweep_needs(stack: Deployment, role: dict[str, str]) -> None:
    _, sub = newcomer(stack)
    waiting, now = stack.attributes(stack.new_user())["sub"], int(time.time())
    put_on_list(stack, waiting)
    put_into_ledger(stack, waiting, s0=now)
    Sweep(stack, credentials=role).run()
    assert traces(stack, sub) == set()
    assert list_is_gone(stack)
    due = stack.guest_item(f"newcomers#{(now + HOUR) // HOUR - 23}")
    assert waiting in due["subs"]["SS"]


def test_function_finishes_what_was_begun_and_logs_whom_it_forgot(stack: Deployment) -> None:
    """T45: its log names the user and no address; who was created just now is kept."""
    _, begun = newcomer(stack)
    stack.cognito.admin_delete_user(UserPoolId=stack.outputs["UserPoolId"], Username=begun)
    address, new = newcomer(stack)
    function = stack.outputs["ForgetUnansweredFunctionName"]
    answer = stack.client("lambda").invoke(FunctionName=function)
    assert "FunctionError" not in answer, answer["Payload"].read()
    assert traces(stack, begun) == set()
    assert "pool" in traces(stack, new)
    logs = stack.client("logs").get_paginator("filter_log_events")
    group = stack.function("ForgetUnanswered")["LoggingConfig"]["LogGroup"]
    written = "".join(e["message"] for p in logs.paginate(logGroupName=group) for e in p["events"])
    assert "newcomer forgotten" in written
    assert begun in written
    assert address not in written


def test_unknown_sub_on_a_list_is_no_fault(stack: Deployment, sweep: Sweep) -> None:
    put_on_list(stack, str(uuid.uuid4()))
    sweep.run()
    assert list_is_gone(stack)


def _ledger_item(stack: Deployment, sub: str) -> dict[str, Any]:
    response = stack.dynamodb.get_item(
        TableName=stack.outputs["OtpLedgerTableName"], Key={"sub": {"S": sub}}
    )
    return response.get("Item", {})
