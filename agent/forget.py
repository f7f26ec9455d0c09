"""Removes a guest everywhere: `python -m agent.forget you@example.com`.

From `make deploy-local`, or with `--stack EmailOtp` from a stack on AWS, by your own credentials.
It asks nothing: who types an address out in full means it. It can be cut off anywhere and run
again: the user goes last, and of users who are gone already the record is found by its address.
"""
# ruff: noqa: T201 - it talks to a person at a terminal

import argparse
import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from agent import deployment
from agent.sign_in.settings import SettingsError

if TYPE_CHECKING:
    from types_boto3_cognito_idp import CognitoIdentityProviderClient
    from types_boto3_dynamodb import DynamoDBClient

_LISTS = "newcomers#"
_STAYS = """Not removed by this:
- log lines with the user's id, which lapse within a month; no line has the address
- the ledger's counts of mails by mailbox, under keyed digests, which lapse by themselves
- mails already sent, and chats that your agent stores
- the tables' backups of the last 35 days (point-in-time recovery)
- the address on SES's suppression list, if mail to it bounced:
  aws sesv2 delete-suppressed-destination --email-address <address>"""


def main(arguments: list[str] | None = None) -> int:
    """Remove a guest and say what there was; return 0 if nothing is left of them."""
    options = _parse(arguments)
    try:
        outputs, session = deployment.find(
            options.stack, options.region, {"UserPoolId", "GuestsTableName", "OtpLedgerTableName"}
        )
        Forgetter.connect(outputs, session).forget(options.email.strip())
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    except ClientError as error:
        told = error.response["Error"]
        reason = f"{error.operation_name}: {told.get('Code', '')}: {told.get('Message', '')}"
        print(f"{reason}\nNot all is removed: mend that, and run this again.", file=sys.stderr)
        return 1
    except BotoCoreError as error:
        print(f"{error}\nNot all is removed: run this again.", file=sys.stderr)
        return 1
    return 0


@dataclass
class _Found:
    """What the guests' table has of an address, and whom it lists as newcomers.

    Attributes:
        records: The guests' numbers, empty where there is none, by `sub`.
        lists: The `subs` of each list, by its key.
    """

    records: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)


class Forgetter:
    """Removes guests from one deployment, and prints what it finds."""

    def __init__(
        self,
        cognito: "CognitoIdentityProviderClient",
        dynamodb: "DynamoDBClient",
        outputs: Mapping[str, str],
    ) -> None:
        self._cognito = cognito
        self._dynamodb = dynamodb
        self._user_pool_id = outputs["UserPoolId"]
        self._guests = outputs["GuestsTableName"]
        self._ledger = outputs["OtpLedgerTableName"]

    @classmethod
    def connect(cls, outputs: Mapping[str, str], session: boto3.Session) -> "Forgetter":
        """Make the clients."""
        endpoint_url = outputs.get("endpoint_url")
        return cls(
            session.client("cognito-idp", endpoint_url=endpoint_url),
            session.client("dynamodb", endpoint_url=endpoint_url),
            outputs,
        )

    def forget(self, email: str) -> None:
        """Remove the user of an address, and all that the tables have of them.

        Args:
            email: As the guest has it now; upper and lower case are the same.

        Raises:
            ClientError, BotoCoreError: A call failed; what was not done yet is left.
        """
        sub = self._find_user(email)
        if sub:
            # Else they could sign in meanwhile, and have a record made again.
            self._user("admin_disable_user", sub)
            self._user("admin_user_global_sign_out", sub)
            print(f"User {sub}: found, disabled and signed out everywhere.")
        else:
            print("User: there is none.")
        print("Reading the guests' table, all of it, for what else has the address.")
        found = self._read_guests(email, sub)
        for other in sorted({*found.records, *([sub] if sub else [])}):
            if other != sub and self._find_user(other):
                number = found.records[other]
                print(f"Guest record {number}: left, as its user has another address by now.")
                continue
            self._remove_items(other, found)
        if sub:
            self._user("admin_delete_user", sub)
            print(f"User {sub}: removed.")
        elif not found.records:
            print(f"Nothing of {email} is left.")
        print(_STAYS)

    def _remove_items(self, sub: str, found: _Found) -> None:
        """Remove what the tables have of a user; last the record, by which the rest is found."""
        for key, subs in found.lists.items():
            if sub in subs:
                self._unlist(key, sub)
                print("List of newcomers: taken off it.")
        self._delete(self._ledger, {"sub": {"S": sub}}, f"Ledger item {sub}")
        if number := found.records.get(sub):
            claim = {"cognito_sub": {"S": f"guest_id#{number}"}}
            self._delete(self._guests, claim, f"Guest number {number}")
        self._delete(self._guests, {"cognito_sub": {"S": sub}}, "Guest record")

    def _find_user(self, name: str) -> str | None:
        """Return the `sub` of a user, given that or their address."""
        try:
            user = self._cognito.admin_get_user(UserPoolId=self._user_pool_id, Username=name)
        except self._cognito.exceptions.UserNotFoundException:
            return None
        return next(each["Value"] for each in user["UserAttributes"] if each["Name"] == "sub")

    def _user(self, operation: str, sub: str) -> None:
        with contextlib.suppress(self._cognito.exceptions.UserNotFoundException):
            getattr(self._cognito, operation)(UserPoolId=self._user_pool_id, Username=sub)

    def _read_guests(self, email: str, sub: str | None) -> _Found:
        found = _Found()
        for item in self._scan():
            key = item["cognito_sub"]["S"]
            if key.startswith(_LISTS):
                found.lists[key] = item.get("subs", {}).get("SS", [])
            elif key == sub or item.get("email", {}).get("S", "").casefold() == email.casefold():
                found.records[key] = item.get("guest_id", {}).get("S", "")
        return found

    def _scan(self) -> Iterator[dict[str, Any]]:
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self._guests,
            ConsistentRead=True,
            ProjectionExpression="cognito_sub, email, guest_id, subs",
        )
        for page in pages:
            yield from page["Items"]

    def _unlist(self, key: str, sub: str) -> None:
        # Else a list that the sweep has just deleted would come back, empty.
        with contextlib.suppress(self._dynamodb.exceptions.ConditionalCheckFailedException):
            self._dynamodb.update_item(
                TableName=self._guests,
                Key={"cognito_sub": {"S": key}},
                UpdateExpression="DELETE subs :sub",
                ConditionExpression="attribute_exists(subs)",
                ExpressionAttributeValues={":sub": {"SS": [sub]}},
            )

    def _delete(self, table: str, key: Any, what: str) -> None:
        old = self._dynamodb.delete_item(TableName=table, Key=key, ReturnValues="ALL_OLD")
        print(f"{what}: {'removed' if old.get('Attributes') else 'there is none'}.")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m agent.forget", description=__doc__)
    parser.add_argument("email", help="the guest's address")
    parser.add_argument("--stack", help="a stack on AWS, such as EmailOtp")
    parser.add_argument("--region", help="the stack's region, if not the configured one")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
