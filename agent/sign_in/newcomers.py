"""How many users the agent creates in a clock hour, and whom: one item each, beside the guests.

Made-up addresses are free, users are not: each is billed, and is there for somebody to remove.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

HOUR_SECONDS = 3600


class Newcomers:
    """Counts them, by hours of UTC.

    Args:
        dynamodb: A client; its failures reach the caller as botocore's exceptions.
        table_name: The stack output `GuestsTableName`.
        limit: Most users created in a clock hour, by all processes together.
        clock: Epoch seconds.
    """

    def __init__(
        self,
        dynamodb: DynamoDBClient,
        table_name: str,
        *,
        limit: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._dynamodb = dynamodb
        self._table_name = table_name
        self._limit = limit
        self._clock = clock

    def are_used_up(self) -> bool:
        """Tell whether this hour's are all taken.

        A refused write costs as much as one of the whole item, and a flood would bring thousands:
        so this is asked before `admit`.
        """
        response = self._dynamodb.get_item(
            TableName=self._table_name,
            Key=_key(self._hour()),
            ConsistentRead=True,  # else who is new is told what others are not yet
            ProjectionExpression="created",
        )
        return int(response.get("Item", {}).get("created", {"N": "0"})["N"]) >= self._limit

    def admit(self) -> int | None:
        """Take one of this hour's, by one conditional write.

        A count whose answer was lost is counted again when it is tried again: never too few.

        Returns:
            The hour, since 1970, that it was counted in; None if all are taken.
        """
        hour = self._hour()
        try:
            self._dynamodb.update_item(
                TableName=self._table_name,
                Key=_key(hour),
                UpdateExpression="ADD created :one",
                ConditionExpression="attribute_not_exists(created) OR created < :limit",
                ExpressionAttributeValues={":one": {"N": "1"}, ":limit": {"N": str(self._limit)}},
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return None
        return hour

    def note(self, cognito_sub: str, hour: int) -> None:
        """Write down whom the agent has created, for what removes those who never answer.

        Args:
            cognito_sub: The user's.
            hour: What `admit` returned for them.
        """
        self._dynamodb.update_item(
            TableName=self._table_name,
            Key=_key(hour),
            UpdateExpression="ADD subs :sub",
            ExpressionAttributeValues={":sub": {"SS": [cognito_sub]}},
        )

    def _hour(self) -> int:
        return int(self._clock()) // HOUR_SECONDS


def _key(hour: int) -> dict[str, dict[str, str]]:
    return {"cognito_sub": {"S": f"newcomers#{hour}"}}
