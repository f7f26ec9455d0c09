"""The guests' records: one a Cognito `sub`, made at the first sign-in."""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef

_ID_CHARACTERS = string.ascii_uppercase + string.digits


@dataclass(frozen=True, slots=True)
class Guest:
    """One guest.

    Attributes:
        guest_id: `GST-YYYY-XXXXXX`, for people to read out.
        name: As she gave it at her first sign-in; empty if she gave none.
        created_at: First sign-in, epoch seconds.
        last_login_at: Latest sign-in, epoch seconds.
    """

    cognito_sub: str
    guest_id: str
    email: str
    name: str
    created_at: int
    last_login_at: int


class GuestStore:
    """Reads and writes guests in their DynamoDB table, keyed by `cognito_sub`.

    Args:
        dynamodb: A client; its failures reach the caller as botocore's exceptions.
        table_name: The stack output `GuestsTableName`.
        clock: Epoch seconds.
    """

    def __init__(
        self,
        dynamodb: DynamoDBClient,
        table_name: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._dynamodb = dynamodb
        self._table_name = table_name
        self._clock = clock

    def record_login(self, cognito_sub: str, *, email: str, name: str) -> Guest:
        """Make the guest's record if there is none, and move `last_login_at`.

        One write decided by DynamoDB, so two first logins at once make one guest.

        Args:
            cognito_sub: From the token Cognito has just issued.
            email: Kept from the first sign-in on.
            name: Kept from the first sign-in that gave one; may be empty.
        """
        now = int(self._clock())
        kept = {
            "guest_id": {"S": _new_guest_id(now)},
            "email": {"S": email},
            "created_at": {"N": str(now)},
        } | ({"name": {"S": name}} if name else {})
        sets = [f"#{field} = if_not_exists(#{field}, :{field})" for field in kept]
        values: dict[str, AttributeValueTypeDef] = {f":{f}": v for f, v in kept.items()}  # type: ignore[misc]
        response = self._dynamodb.update_item(
            TableName=self._table_name,
            Key={"cognito_sub": {"S": cognito_sub}},
            UpdateExpression=f"SET {', '.join(sets)}, last_login_at = :now",
            ExpressionAttributeNames={f"#{field}": field for field in kept},
            ExpressionAttributeValues=values | {":now": {"N": str(now)}},
            ReturnValues="ALL_NEW",
        )
        return _guest(response["Attributes"])

    def find(self, cognito_sub: str) -> Guest | None:
        """Return the record of this `sub`, or None if there is none."""
        response = self._dynamodb.get_item(
            TableName=self._table_name, Key={"cognito_sub": {"S": cognito_sub}}
        )
        return _guest(response["Item"]) if "Item" in response else None


def _guest(item: dict[str, AttributeValueTypeDef]) -> Guest:
    return Guest(
        cognito_sub=item["cognito_sub"]["S"],
        guest_id=item["guest_id"]["S"],
        email=item["email"]["S"],
        name=item.get("name", {"S": ""})["S"],
        created_at=int(item["created_at"]["N"]),
        last_login_at=int(item["last_login_at"]["N"]),
    )


def _new_guest_id(now: float) -> str:
    year = time.gmtime(now).tm_year
    return f"GST-{year}-{''.join(secrets.choice(_ID_CHARACTERS) for _ in range(6))}"
