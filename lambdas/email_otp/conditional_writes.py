"""How a rule of the ledger is tried: one conditional write, which DynamoDB makes or refuses."""

import random
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, ConnectionClosedError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Longest pauses before each new try: enough for 20 sends at once, 1.6 s at worst."""
_REFUSED = "ConditionalCheckFailed"

type Item = dict[str, Any]
"""An item's attributes: whole numbers and texts."""
type Write = dict[str, Any]
"""The request for one update of one item."""


class Table:
    """A DynamoDB table with the partition key `sub`."""

    def __init__(self, client: "DynamoDBClient", name: str) -> None:
        self._client = client
        self._name = name

    def write(
        self, key: str, update: str, condition: str, *, now: int, **values: int | str
    ) -> Write:
        """Prepare an update that is made if the condition holds of the item as it is.

        Args:
            key: The item's partition key.
            update: The update expression.
            condition: The condition expression.
            now: Epoch seconds, `:now` in the expressions; `:ago_30` in them is 30 s before.
            values: What else they may name, `id` for `:id`; what they do not is left out.
        """
        # DynamoDB refuses values that are not named.
        names = set(re.findall(r":(\w+)", f"{update} {condition}"))
        times = {name: now - int(name[4:]) for name in names if name.startswith("ago_")}
        values |= {"now": now} | times
        return {
            "TableName": self._name,
            "Key": {"sub": {"S": key}},
            "UpdateExpression": update,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": {f":{name}": _typed(values[name]) for name in names},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def make(self, write: Write) -> Item | None:
        """Make a write; return None if it was made, else the item that refused it."""
        try:
            _until_decided(lambda: self._client.update_item(**write))
        except self._client.exceptions.ConditionalCheckFailedException as refused:
            return _plain(refused.response.get("Item", {}))
        return None

    def make_both(self, first: Write, second: Write) -> Item | None:
        """Make two writes or neither; return None if they were made, else the first one's item."""
        updates: Any = [{"Update": first}, {"Update": second}]
        try:
            _until_decided(lambda: self._client.transact_write_items(TransactItems=updates))
        except self._client.exceptions.TransactionCanceledException as canceled:
            refused, refused_beside = canceled.response["CancellationReasons"]
            if refused["Code"] == _REFUSED:
                return _plain(refused.get("Item", {}))
            if refused_beside["Code"] == _REFUSED:
                item = self._client.get_item(
                    TableName=self._name, Key=first["Key"], ConsistentRead=True
                )
                return _plain(item.get("Item", {}))
            raise
        return None


def _typed(value: int | str) -> dict[str, str]:
    return {"N": str(value)} if isinstance(value, int) else {"S": value}


def _plain(item: Any) -> Item:
    return {name: int(typed["N"]) if "N" in typed else typed["S"] for name, typed in item.items()}


def _until_decided(write: Callable[[], object]) -> None:
    """Try a write until it is made or refused; every write here may be made twice.

    DynamoDB does not queue on an item in a transaction, the loser starts over:
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling
    A connection kept from an earlier call may have died while the function was frozen:
    https://docs.aws.amazon.com/lambda/latest/dg/best-practices.html#function-code
    """
    for pause_seconds in _PAUSES_SECONDS:
        try:
            write()
        except ConnectionClosedError:
            continue
        except ClientError as error:
            if not _is_conflict(error):
                raise
        else:
            return
        time.sleep(random.uniform(0, pause_seconds))  # noqa: S311
    write()


def _is_conflict(error: ClientError) -> bool:
    """Tell whether only another transaction stood in the way, so that nothing was decided."""
    if error.response["Error"]["Code"] == "TransactionConflictException":
        return True
    reasons: Any = error.response.get("CancellationReasons", [])
    codes = {reason["Code"] for reason in reasons}
    return "TransactionConflict" in codes and _REFUSED not in codes
