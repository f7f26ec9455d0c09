"""How a rule of the ledger is tried: one conditional write, which DynamoDB makes or refuses."""

import re
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ConnectionClosedError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

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

    def make(self, write: Write, *, once: bool = False) -> Item | None:
        """Make a write; return None if it was made, else the item that refused it.

        A connection kept from an earlier call may have died while the function was frozen, so a
        write on a closed one is tried again, unless it may be made `once` only.
        Source: https://docs.aws.amazon.com/lambda/latest/dg/best-practices.html#function-code
        """
        try:
            try:
                self._client.update_item(**write)
            except ConnectionClosedError:
                if once:
                    raise
                self._client.update_item(**write)
        except self._client.exceptions.ConditionalCheckFailedException as refused:
            return _plain(refused.response.get("Item", {}))
        return None


def _typed(value: int | str) -> dict[str, str]:
    return {"N": str(value)} if isinstance(value, int) else {"S": value}


def _plain(item: Any) -> Item:
    return {name: int(typed["N"]) if "N" in typed else typed["S"] for name, typed in item.items()}
