"""The guests' records: one a Cognito `sub`, made at the first sign-in."""

from __future__ import annotations

import contextlib
import secrets
import string
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef

_ID_CHARACTERS = string.ascii_uppercase + string.digits
_CLAIMS = 5  # tries; of 2 billion numbers a year, even one is hardly ever taken


@dataclass(frozen=True, slots=True)
class Guest:
    """One guest.

    Attributes:
        guest_id: `GST-YYYY-XXXXXX`, for people to read out.
        name: As they gave it first; empty if they gave none.
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
        new_guest_id: Makes a number, given the time, which may be taken already.
    """

    def __init__(
        self,
        dynamodb: DynamoDBClient,
        table_name: str,
        clock: Callable[[], float] = time.time,
        new_guest_id: Callable[[int], str] | None = None,
    ) -> None:
        self._new_guest_id = new_guest_id or _new_guest_id
        self._dynamodb = dynamodb
        self._table_name = table_name
        self._clock = clock

    def record_login(self, cognito_sub: str, *, email: str, name: str) -> Guest:
        """Make the guest's record if there is none, and move `last_login_at`.

        Each write is decided by DynamoDB, so two first logins at once make one guest.

        Args:
            cognito_sub: From the token Cognito has just issued.
            email: Of this sign-in: the team may have changed it since the last.
            name: Kept from the first sign-in that gave one; may be empty.
        """
        now = int(self._clock())
        if_missing = {"name": name} if name else {}
        exists = "attribute_exists(guest_id)"
        try:
            return self._write(cognito_sub, email, if_missing, now, condition=exists)
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            # Of two first logins at once both claim a number; the one not used stays claimed.
            if_missing |= {"guest_id": self._claim_guest_id(now)}
            return self._write(cognito_sub, email, if_missing, now)

    def _claim_guest_id(self, now: int) -> str:
        """Find a number that is nobody's: an item of its own, without anything personal.

        A claim whose answer was lost looks taken when it is tried again: the next number is as
        good.
        """
        for _ in range(_CLAIMS):
            guest_id = self._new_guest_id(now)
            with contextlib.suppress(self._dynamodb.exceptions.ConditionalCheckFailedException):
                self._dynamodb.update_item(
                    TableName=self._table_name,
                    Key={"cognito_sub": {"S": f"guest_id#{guest_id}"}},
                    UpdateExpression="SET claimed_at = :now",
                    ConditionExpression="attribute_not_exists(cognito_sub)",
                    ExpressionAttributeValues={":now": {"N": str(now)}},
                )
                return guest_id
        raise RuntimeError(f"{_CLAIMS} guest numbers in a row were taken")

    def _write(
        self,
        cognito_sub: str,
        email: str,
        if_missing: Mapping[str, str],
        now: int,
        *,
        condition: str | None = None,
    ) -> Guest:
        """Write address and time of this sign-in, and `if_missing` where there is no value yet."""
        written = {**if_missing, "email": email}
        values: dict[str, AttributeValueTypeDef] = {f":{f}": {"S": v} for f, v in written.items()}
        sets = [f"#{field} = if_not_exists(#{field}, :{field})" for field in if_missing]
        sets += ["#email = :email", "last_login_at = :now"]
        sets += ["created_at = if_not_exists(created_at, :now)"]
        response = self._dynamodb.update_item(
            TableName=self._table_name,
            Key={"cognito_sub": {"S": cognito_sub}},
            UpdateExpression=f"SET {', '.join(sets)}",
            ExpressionAttributeNames={f"#{field}": field for field in written},
            ExpressionAttributeValues=values | {":now": {"N": str(now)}},
            ReturnValues="ALL_NEW",
            **({"ConditionExpression": condition} if condition else {}),  # type: ignore[arg-type]
        )
        return _guest(response["Attributes"])

    def find(self, cognito_sub: str) -> Guest | None:
        """Return the record of this `sub`, or None if there is none."""
        response = self._dynamodb.get_item(
            TableName=self._table_name,
            Key={"cognito_sub": {"S": cognito_sub}},
            ConsistentRead=True,  # else who has just signed in may have no record yet
        )
        item = response.get("Item", {})
        return _guest(item) if "guest_id" in item else None


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
