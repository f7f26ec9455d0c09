"""DynamoDB's transactions, SES's limits and the switches, beside MiniStack's own."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError

from infra.local.deployment import CREDENTIALS
from tests.support.deployment import Deployment, new_address

SENDER = "rules@example.com"


@pytest.fixture
def both(stack: Deployment, bare_aws: Deployment) -> Iterator[tuple[Deployment, Deployment]]:
    """Give AWS's rules and none, with a table and a sender in each."""
    for aws in (stack, bare_aws):
        if "rules" not in aws.dynamodb.list_tables()["TableNames"]:
            aws.dynamodb.create_table(
                TableName="rules",
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
            aws.client("sesv2").create_email_identity(EmailIdentity=SENDER)
    yield stack, bare_aws
    stack.switch()


def client(aws: Deployment, service: str, *, read_seconds: float = 10) -> Any:
    """Return a client that tries a call once."""
    return boto3.client(
        service,
        endpoint_url=aws.outputs["endpoint_url"],
        region_name=aws.outputs["region"],
        config=Config(retries={"total_max_attempts": 1}, read_timeout=read_seconds),
        **CREDENTIALS,
    )


def update(name: str = "hot") -> dict[str, Any]:
    return {
        "TableName": "rules",
        "Key": {"id": {"S": name}},
        "UpdateExpression": "ADD n :one",
        "ExpressionAttributeValues": {":one": {"N": "1"}},
    }


def code_of(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def send(aws: Deployment, *addresses: str) -> None:
    client(aws, "sesv2").send_email(
        FromEmailAddress=SENDER,
        Destination={"ToAddresses": list(addresses)},
        Content={"Simple": {"Subject": {"Data": "x"}, "Body": {"Text": {"Data": "x"}}}},
    )


def writes_beside_a_transaction(aws: Deployment) -> list[str]:
    """Write an item in a second transaction and alone while the first one goes on."""
    dynamodb = client(aws, "dynamodb")
    told: list[str] = []
    with ThreadPoolExecutor() as pool:
        first = pool.submit(
            dynamodb.transact_write_items,
            TransactItems=[{"Update": update("cold")}, {"Update": update()}],
        )
        time.sleep(0.3)
        second = [{"Update": update("other")}, {"Update": update()}]
        writes: list[tuple[Any, dict[str, Any]]] = [
            (dynamodb.update_item, update()),
            (dynamodb.transact_write_items, {"TransactItems": second}),
        ]
        for write, parameters in writes:
            try:
                write(**parameters)
            except ClientError as error:
                reasons: Any = error.response.get("CancellationReasons", [])
                told += [code_of(error), *[reason["Code"] for reason in reasons]]
        first.result()
    return told


def test_item_in_a_transaction_conflicts_with_every_other_write(
    both: tuple[Deployment, Deployment],
) -> None:
    strict, bare = both
    strict.switch(transaction_seconds=1)

    assert writes_beside_a_transaction(strict) == [
        "TransactionConflictException",
        "TransactionCanceledException",
        "None",
        "TransactionConflict",
    ]
    assert writes_beside_a_transaction(bare) == [], "the rule can go"
    client(strict, "dynamodb").update_item(**update())  # once it is over


def test_mail_to_a_suppressed_address_is_taken_and_dropped(
    both: tuple[Deployment, Deployment],
) -> None:
    strict, bare = both
    suppressed, other = new_address(), new_address()
    client(strict, "sesv2").put_suppressed_destination(
        EmailAddress=suppressed.upper(), Reason="BOUNCE"
    )

    send(strict, suppressed)
    send(strict, other)

    assert len(strict.mails_to(suppressed)) == 0
    assert len(strict.mails_to(other)) == 1
    with pytest.raises(ClientError):  # else the rule can go
        client(bare, "sesv2").put_suppressed_destination(EmailAddress=other, Reason="BOUNCE")


def test_mails_beyond_the_accounts_rate_are_refused(both: tuple[Deployment, Deployment]) -> None:
    strict, bare = both
    strict.switch(mails_per_second=0.2)
    send(strict, new_address())

    with pytest.raises(ClientError, match="Maximum sending rate exceeded") as refused:
        send(strict, new_address())

    assert code_of(refused.value) == "TooManyRequestsException"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    for _ in range(2):
        send(bare, new_address())


@pytest.mark.parametrize(
    ("service", "operation", "call", "code"),
    [
        (
            "dynamodb",
            "get_item",
            {"TableName": "rules", "Key": {"id": {"S": "x"}}},
            "ThrottlingException",
        ),
        ("secretsmanager", "list_secrets", {}, "ThrottlingException"),
        ("cognito-idp", "list_user_pools", {"MaxResults": 1}, "TooManyRequestsException"),
        ("lambda", "list_functions", {}, "TooManyRequestsException"),
    ],
)
def test_nth_call_is_throttled_in_the_services_own_words(
    both: tuple[Deployment, Deployment],
    service: str,
    operation: str,
    call: dict[str, Any],
    code: str,
) -> None:
    strict, _ = both
    strict.switch(faults=[{"service": service, "calls": [2], "fault": "throttle"}])
    method = getattr(client(strict, service), operation)

    method(**call)
    with pytest.raises(ClientError) as refused:
        method(**call)
    method(**call)

    assert code_of(refused.value) == code


def test_call_is_lost_before_or_after_it_is_carried_out(
    both: tuple[Deployment, Deployment],
) -> None:
    strict, _ = both
    hasty = client(strict, "dynamodb", read_seconds=0.5)
    item = new_address()
    update_item = {"service": "dynamodb", "operation": "UpdateItem"}
    for fault, done in (("lose", 0), ("lose_answer", 1)):
        strict.switch(faults=[update_item | {"calls": [1], "fault": fault}])
        with pytest.raises(ReadTimeoutError):
            hasty.update_item(**update(item))
        found = hasty.get_item(TableName="rules", Key={"id": {"S": item}}).get("Item", {})
        assert int(found.get("n", {"N": "0"})["N"]) == done


def test_call_is_delayed_and_then_carried_out(both: tuple[Deployment, Deployment]) -> None:
    strict, _ = both
    strict.switch(
        faults=[{"service": "dynamodb", "operation": "UpdateItem", "fault": "delay", "seconds": 1}]
    )

    with pytest.raises(ReadTimeoutError):
        client(strict, "dynamodb", read_seconds=0.3).update_item(**update())
    client(strict, "dynamodb").update_item(**update())


@pytest.mark.parametrize(
    "switches",
    [
        {"faults": [{"service": "dynamodb", "operation": "UpdateItem", "fault": "explode"}]},
        {"faults": [{"service": "dynamodb", "operation": "UpdateItem"}]},
        {"mails_a_second": 5},
        [],
    ],
)
def test_switch_that_does_not_exist_is_named(stack: Deployment, switches: Any) -> None:
    answer = httpx.put(f"{stack.outputs['endpoint_url']}/_aws_rules", json=switches)

    assert answer.status_code == 400
    assert answer.json()["error"]
