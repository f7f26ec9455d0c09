"""How a rule of the ledger is tried: one conditional write, which DynamoDB makes or refuses."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from lambdas.email_otp.calls import CALL_SECONDS, in_time, may_be_tried_again

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

type Item = dict[str, Any]
"""An item's attributes: whole numbers and texts."""


class Tried(NamedTuple):
    """What became of a write: whether it was made, and the item as it is now."""

    made: bool
    item: Item


class Table:
    """A DynamoDB table with the partition key `sub`."""

    def __init__(self, client: "DynamoDBClient", name: str) -> None:
        self._client = client
        self._name = name

    def connect(self) -> None:
        """Open the connection, by a write that is never made: its condition holds of no item."""
        never = "attribute_not_exists(expires_at) AND expires_at=:now"
        self.try_to("SET expires_at=:now", "nobody", condition=never, now=0, values={})

    def try_to(
        self,
        update: str,
        key: str,
        *,
        condition: str,
        now: int,
        values: Mapping[str, int | str],
        once: bool = False,
    ) -> Tried:
        """Update an item if the condition holds of it as it is.

        A write whose answer is lost is made again, so it may be made twice.

        Args:
            update: The update expression.
            key: The item's partition key.
            condition: The condition expression.
            now: Epoch seconds, `:now` in the expressions; `:ago_30` in them is 30 s before.
            values: What else they may name, `id` for `:id`; what they do not is left out.
            once: Whether it may not be made twice: then it is not tried again.
        """

        def write() -> Any:
            return self._client.update_item(
                TableName=self._name,
                Key={"sub": {"S": key}},
                UpdateExpression=update,
                ConditionExpression=condition,
                ExpressionAttributeValues=named(f"{update} {condition}", values, now),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )

        try:
            reply = in_time(
                write,
                seconds=CALL_SECONDS,
                try_again=lambda error: not once and may_be_tried_again(error),
            )
        except self._client.exceptions.ConditionalCheckFailedException as refused:
            return Tried(made=False, item=_plain(refused.response.get("Item", {})))
        return Tried(made=True, item=_plain(reply["Attributes"]))


def named(expressions: str, values: Mapping[str, int | str], now: int) -> dict[str, Any]:
    """Return the values that expressions name, as DynamoDB takes them: it refuses any other."""
    names = set(re.findall(r":(\w+)", expressions))
    times = {name: now - int(name[4:]) for name in names if name.startswith("ago_")}
    known = {**values, "now": now, **times}
    return {f":{name}": _typed(known[name]) for name in names}


def _typed(value: int | str) -> dict[str, str]:
    return {"N": str(value)} if isinstance(value, int) else {"S": value}


def _plain(item: Any) -> Item:
    return {name: int(typed["N"]) if "N" in typed else typed["S"] for name, typed in item.items()}
