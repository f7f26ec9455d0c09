"""What the sweep of unanswered sign-ins works on, in memory: a user pool and the two tables."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from lambdas.email_otp.forgetting import Forgetting
from tests.support.clock import Clock
from tests.support.dynamodb_expressions import holds, updated

POOL_ID, GUESTS, LEDGER = "us-east-1_EXAMPLE01", "guests", "ledger"
HOUR = 3600


def _error(code: str) -> type[ClientError]:
    return type(code, (ClientError,), {})


class _Errors:
    UserNotFoundException = _error("UserNotFoundException")
    ConditionalCheckFailedException = _error("ConditionalCheckFailedException")


@dataclass
class FakeAws:
    """Cognito and DynamoDB, as far as the sweep calls them.

    Attributes:
        users: Their attributes, by `sub`, with `enabled` and `created_at` beside.
        lists: The newcomers, by hour; None where an hour has counted and listed nobody.
        guests: The subs that have a record.
        ledger: Its items.
        calls: The operations, in order, with the user or the key that they were about, and `sleep`.
        before: Called before each call; what it raises is the call's failure.
        unprocessed: How many keys of the next reads are left for another one.
    """

    clock: Clock
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    lists: dict[int, set[str] | None] = field(default_factory=dict)
    guests: set[str] = field(default_factory=set)
    ledger: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    before: Callable[[str, str], None] = lambda _operation, _about: None
    unprocessed: list[int] = field(default_factory=list)
    exceptions = _Errors

    def sweep(self, *, after_hours: int = 24) -> Forgetting:
        """Return the sweep over it."""
        aws: Any = self
        return Forgetting(
            aws,
            aws,
            user_pool_id=POOL_ID,
            guests_table_name=GUESTS,
            ledger_table_name=LEDGER,
            after_hours=after_hours,
            clock=self.clock,
            sleep=lambda seconds: self.calls.append(("sleep", f"{seconds}")),
        )

    def newcomer(self, sub: str, *, created_at: float, **item: int) -> None:
        """Make a user as the agent does, with an item of the ledger if there are attributes."""
        self.users[sub] = {"enabled": True, "created_at": created_at, "email_verified": "false"}
        hour = int(created_at) // HOUR
        self.lists[hour] = (self.lists.get(hour) or set()) | {sub}
        if item:
            self.ledger[sub] = {name: {"N": str(value)} for name, value in item.items()}

    def admin_get_user(self, **arguments: Any) -> dict[str, Any]:
        """Return a user."""
        user = self._user("AdminGetUser", arguments)
        return {
            "Enabled": user["enabled"],
            "UserCreateDate": datetime.fromtimestamp(user["created_at"], UTC),
            "UserAttributes": [{"Name": "email_verified", "Value": user["email_verified"]}],
        }

    def admin_delete_user(self, **arguments: Any) -> dict[str, Any]:
        """Delete a user."""
        self._user("AdminDeleteUser", arguments)
        del self.users[arguments["Username"]]
        return {}

    def batch_get_item(self, **arguments: Any) -> dict[str, Any]:
        """Read lists, but for those that are left for another call."""
        keys = arguments["RequestItems"][GUESTS]["Keys"]
        assert len(keys) <= 100
        self._called("BatchGetItem", "")
        split = len(keys) - (self.unprocessed.pop(0) if self.unprocessed else 0)
        found = []
        for key in keys[:split]:
            hour = _hour(key)
            if hour in self.lists:
                subs = sorted(self.lists[hour] or ())
                found.append({**key, **({"subs": {"SS": subs}} if subs else {})})
        left = {GUESTS: {"Keys": keys[split:]}} if keys[split:] else {}
        return {"Responses": {GUESTS: found}, "UnprocessedKeys": left}

    def get_item(self, **arguments: Any) -> dict[str, Any]:
        """Read a guest's record."""
        assert arguments["TableName"] == GUESTS
        sub = arguments["Key"]["cognito_sub"]["S"]
        self._called("GetItem", sub)
        assert arguments["ConsistentRead"]
        return {"Item": {}} if sub in self.guests else {}

    def update_item(self, **arguments: Any) -> dict[str, Any]:
        """Claim an item of the ledger, or change a list."""
        values = arguments["ExpressionAttributeValues"]
        if arguments["TableName"] == LEDGER:
            return self._claim(arguments, values)
        hour = _hour(arguments["Key"])
        [sub] = values[":sub"]["SS"]
        listed = self.lists.get(hour) or set()
        if arguments["UpdateExpression"] == "ADD subs :sub":
            self._called("ADD", str(hour))
            self.lists[hour] = listed | {sub}
            return {}
        assert arguments["UpdateExpression"] == "DELETE subs :sub"
        assert arguments["ConditionExpression"] == "attribute_exists(subs)"
        self._called("DELETE", str(hour))
        if not listed:
            raise self._refusal()
        self.lists[hour] = (listed - {sub}) or None
        return {"Attributes": {"subs": {}} if self.lists[hour] else {}}

    def delete_item(self, **arguments: Any) -> dict[str, Any]:
        """Delete an item of the ledger, or an hour's that lists nobody."""
        if arguments["TableName"] == LEDGER:
            key = arguments["Key"]["sub"]["S"]
            self._called("DeleteItem", key)
            self.ledger.pop(key, None)
            return {}
        assert arguments["ConditionExpression"] == "attribute_not_exists(subs)"
        hour = _hour(arguments["Key"])
        self._called("DeleteItem", str(hour))
        if self.lists.get(hour):
            raise self._refusal()
        self.lists.pop(hour, None)
        return {}

    def _claim(self, arguments: Any, values: Any) -> dict[str, Any]:
        sub = arguments["Key"]["sub"]["S"]
        self._called("UpdateItem", sub)
        item = self.ledger.get(sub, {})
        if not holds(arguments["ConditionExpression"], item, values):
            assert arguments["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"
            raise self._refusal(item)
        self.ledger[sub] = updated(arguments["UpdateExpression"], item, values)
        return {}

    def _user(self, operation: str, arguments: Any) -> dict[str, Any]:
        assert arguments["UserPoolId"] == POOL_ID
        self._called(operation, arguments["Username"])
        if arguments["Username"] not in self.users:
            error = {"Error": {"Code": "UserNotFoundException"}}
            raise self.exceptions.UserNotFoundException(error, operation)  # type: ignore[arg-type]
        return self.users[arguments["Username"]]

    def _refusal(self, item: Any = None) -> ClientError:
        error: Any = {"Error": {"Code": "ConditionalCheckFailedException"}}
        return self.exceptions.ConditionalCheckFailedException(
            error | ({"Item": item} if item else {}), "UpdateItem"
        )

    def _called(self, operation: str, about: str) -> None:
        self.calls.append((operation, about))
        self.before(operation, about)


def _hour(key: Any) -> int:
    prefix, _, hour = key["cognito_sub"]["S"].partition("#")
    assert prefix == "newcomers"
    return int(hour)
