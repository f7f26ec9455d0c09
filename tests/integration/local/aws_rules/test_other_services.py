"""DynamoDB's transactions, SES's limits and the switches, beside MiniStack's own."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError

from infra.local.deployment import CREDENTIALS
from tests.support.deployment import Deployment, http, new_address

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


def conflicts(aws: Deployment) -> set[str]:
    """Write one item at once, in transactions and alone; returns the names of the refusals."""
    dynamodb = client(aws, "dynamodb")

    def write(number: int) -> set[str]:
        both = [{"Update": update(f"cold-{number}")}, {"Update": update()}]
        try:
            if number % 3:
                dynamodb.transact_write_items(TransactItems=both)
            else:
                dynamodb.update_item(**update())
        except ClientError as error:
            reasons: Any = error.response.get("CancellationReasons", [])
            return {code_of(error), *[reason["Code"] for reason in reasons]}
        return set()

    with ThreadPoolExecutor(10) as pool:
        return set().union(*pool.map(write, range(60)))


def test_item_in_a_transaction_conflicts_with_every_other_write(
    both: tuple[Deployment, Deployment],
) -> None:
    strict, bare = both
    with strict.switched(transaction_seconds=0.1):
        assert conflicts(strict) == {
            "TransactionConflictException",
            "TransactionCanceledException",
            "TransactionConflict",
            "None",
        }
    assert conflicts(bare) == set(), "the rule can go"
    client(strict, "dynamodb").update_item(**update())  # once it is over


def test_items_that_are_put_into_one_table_do_not_conflict(
    both: tuple[Deployment, Deployment],
) -> None:
    strict, _ = both
    dynamodb = client(strict, "dynamodb")

    def put(name: str) -> None:
        item = {"TableName": "rules", "Item": {"id": {"S": name}}}
        dynamodb.transact_write_items(TransactItems=[{"Put": item}])

    with strict.switched(transaction_seconds=0.1), ThreadPoolExecutor() as pool:
        list(pool.map(put, [new_address() for _ in range(3)]))


@pytest.mark.parametrize(
    ("operation", "told"),
    [
        ("UpdateItem", "TransactionConflictException"),
        ("TransactWriteItems", "TransactionCanceledException"),
    ],
)
def test_nth_write_conflicts_as_the_switch_says(
    both: tuple[Deployment, Deployment], operation: str, told: str
) -> None:
    strict, _ = both
    dynamodb = client(strict, "dynamodb")
    write = {"service": "dynamodb", "operation": operation, "fault": "conflict", "calls": [2]}
    parameters: dict[str, dict[str, Any]] = {
        "UpdateItem": update(),
        "TransactWriteItems": {"TransactItems": [{"Update": update()}]},
    }
    method = dynamodb.update_item if operation == "UpdateItem" else dynamodb.transact_write_items
    with strict.switched(faults=[write]):
        method(**parameters[operation])
        with pytest.raises(ClientError, match=r"TransactionConflict|ongoing") as refused:
            method(**parameters[operation])
        method(**parameters[operation])
    assert code_of(refused.value) == told


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
    address = new_address()
    for _ in range(80):  # more than the usual rate, in less than its five seconds
        send(bare, address)
    assert len(bare.mails_to(address)) == 80, "the rule can go"


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
    hasty = client(strict, "dynamodb", read_seconds=0.3)
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
        faults=[
            {"service": "dynamodb", "operation": "UpdateItem", "fault": "delay", "seconds": 0.5}
        ]
    )

    with pytest.raises(ReadTimeoutError):
        client(strict, "dynamodb", read_seconds=0.2).update_item(**update())
    client(strict, "dynamodb").update_item(**update())


@pytest.mark.parametrize(
    ("switches", "named"),
    [
        ({"faults": [{"service": "dynamodb", "fault": "explode"}]}, "'explode'"),
        ({"faults": [{"service": "dynamo", "fault": "lose"}]}, "'dynamo'"),
        ({"faults": [{"service": "dynamodb"}]}, "'fault'"),
        ({"faults": [{"service": "dynamodb", "fault": "lose", "calls": 1}]}, "'calls'"),
        ({"faults": [{"service": "dynamodb", "fault": "delay", "seconds": "x"}]}, "'x'"),
        ({"mails_a_second": 5}, "'mails_a_second'"),
        ([], "object"),
    ],
)
def test_switch_that_does_not_exist_is_named(stack: Deployment, switches: Any, named: str) -> None:
    answer = http.put(f"{stack.outputs['endpoint_url']}/_aws_rules", json=switches)

    assert answer.status_code == 400
    assert named in answer.json()["error"]
