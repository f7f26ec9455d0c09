"""Forgetting newcomers: the users whom the agent created and who never answered right.

The agent lists them in the guests' table: `newcomers#<hour>` has the `subs` of those it created
in that clock hour (UTC), counted from 1970. Only who is listed there is ever forgotten.

**When.** Whoever comes in hour H, be it in its first second, is gone after N hours
(`forget_unanswered_after_hours`). So what is listed under H is due from hour H + N - 1 on, of which
each has a run. Whoever was created or mailed within the last hour is left alone, as they may be
signing in. The next run takes them: less than two hours after that mail, and N is at least 2. So an
address is gone N hours after it came, or after the last mail to it.

Wrong answers are the exception: they count for 20 days (`ledger.py`). A user who was forgotten
with them and came back could be guessed at anew each day. Who has to wait is listed again, under
the hour that is due when the wait is over. So what a run costs grows with what is due, not with the
pool.

**In which order.** The claim on the ledger's item is one conditional write, and for 30 s after it
the ledger lets no mail go. So from the claim on no code is out or comes out, and none can be
redeemed. The user goes within that time, then, once no trigger that had begun before can still be
writing, the ledger's items, and last the name on the list. A run that dies anywhere is finished by
the next one, and two at once do each step twice, which changes nothing.

**What it costs.** A run reads the hours of two weeks, in case none ran for a while: 336 keys, four
calls, 168 read units, so some 2 US cents a month. For each newcomer forgotten come two calls to
Cognito, a read and three writes.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import batched
from typing import TYPE_CHECKING, Any, Literal

from botocore.config import Config

from lambdas.email_otp import clients
from lambdas.email_otp.ledger import WRONG_ANSWERS_SECONDS
from lambdas.email_otp.observability import count, logger

if TYPE_CHECKING:
    from types_boto3_cognito_idp import CognitoIdentityProviderClient
    from types_boto3_dynamodb import DynamoDBClient

CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS, TRIES = 1, 2, 3
"""A claim and the deletion after it, each tried so often, stay well inside the ledger's 30 s."""
UNDER_WAY_SECONDS = 3600
"""A code lives ten minutes at most, a `Session` of Cognito fifteen."""
LOOK_BACK_HOURS = 2 * 7 * 24
TRIGGER_SECONDS = 16
"""A trigger that Cognito has called ends within 5 s, and is called three times at most."""
RESERVE_SECONDS = 60
"""What must be left of a run's time to begin with other users: ten times what they take."""

_HOUR_SECONDS = 3600
_USERS_AT_A_TIME = 100
_READ_AT_A_TIME = 100  # BatchGetItem's limit
_CLAIM = "SET forgotten_at=:now, expires_at=if_not_exists(expires_at,:tomorrow)"
_MAY_CLAIM = (
    "attribute_not_exists(done_at)"
    " AND (attribute_not_exists(s0) OR s0<=:before_sign_ins)"
    " AND (attribute_not_exists(w0) OR w0<=:before_wrong_answers)"
)

type Listed = tuple[int, str]
"""The hour that a newcomer is listed under, and their `sub`."""


class NotAllForgottenError(Exception):
    """Somebody could not be forgotten; the log says who, and the next run tries again."""

    def __init__(self) -> None:
        super().__init__("NOT_ALL_FORGOTTEN")


class Forgetting:
    """One stack's sweep.

    Args:
        cognito: A client whose calls end in time, see `connect`.
        dynamodb: The same.
        user_pool_id: The pool.
        guests_table_name: Where the newcomers are listed, and guests have their records.
        ledger_table_name: The ledger.
        after_hours: By when an address has to be gone, 2 to 168.
        clock: Epoch seconds.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        cognito: "CognitoIdentityProviderClient",
        dynamodb: "DynamoDBClient",
        *,
        user_pool_id: str,
        guests_table_name: str,
        ledger_table_name: str,
        after_hours: int,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cognito = cognito
        self._dynamodb = dynamodb
        self._user_pool_id = user_pool_id
        self._guests = guests_table_name
        self._ledger = ledger_table_name
        self._after_hours = after_hours
        self._clock = clock
        self._sleep = sleep

    def run(self, seconds_left: Callable[[], float]) -> None:
        """Forget whoever is due.

        Args:
            seconds_left: How long this run may still take. It ends early rather than being cut
                off; the next one goes on.

        Raises:
            NotAllForgottenError: It did not work with somebody; all others are done.
        """
        failed = 0
        for listed in batched(self._due(), _USERS_AT_A_TIME, strict=False):
            if seconds_left() < RESERVE_SECONDS:
                logger.warning("sweep ended early")
                break
            failed += self._forget(listed)
        if failed:
            raise NotAllForgottenError

    def _due(self) -> Iterator[Listed]:
        """Read who is due, roughly those first who have waited longest."""
        newest = self._now() // _HOUR_SECONDS - self._after_hours + 1
        due = range(newest - LOOK_BACK_HOURS + 1, newest + 1)
        for hours in batched(due, _READ_AT_A_TIME, strict=False):
            wanted: Any = {self._guests: {"Keys": [_key(hour) for hour in hours]}}
            while wanted:
                found = self._dynamodb.batch_get_item(RequestItems=wanted)
                for item in found["Responses"].get(self._guests, []):
                    hour = int(item["cognito_sub"]["S"].partition("#")[2])
                    subs = item.get("subs", {}).get("SS", [])
                    if not subs:
                        self._drop(hour)
                    yield from ((hour, sub) for sub in subs)
                wanted = found.get("UnprocessedKeys")

    def _forget(self, listed: Sequence[Listed]) -> int:
        """Forget some users; returns with how many it did not work."""
        failed = 0
        gone = []
        for hour, sub in listed:
            try:
                if self._remove_user(hour, sub):
                    gone.append((hour, sub))
            except Exception as error:
                failed += 1
                _log(error, sub)
        if gone:
            self._sleep(TRIGGER_SECONDS)
        for hour, sub in gone:
            try:
                self._dynamodb.delete_item(TableName=self._ledger, Key={"sub": {"S": sub}})
                self._unlist(hour, sub)
            except Exception as error:
                failed += 1
                _log(error, sub)
            else:
                count("Forgotten")
                logger.info("newcomer forgotten", sub=sub)
        return failed

    def _remove_user(self, hour: int, sub: str) -> bool:
        """Remove a user from the pool, if they may be forgotten; returns whether they are gone."""
        now = self._now()
        try:
            user = self._cognito.admin_get_user(UserPoolId=self._user_pool_id, Username=sub)
        except self._cognito.exceptions.UserNotFoundException:
            return True  # a run that died has removed them, or an operator
        attributes = {each["Name"]: each.get("Value") for each in user["UserAttributes"]}
        if attributes.get("email_verified") == "true":
            return self._keep(hour, sub, "signed_in")
        # Nobody signs in to it, and removed it would come back enabled.
        if not user["Enabled"]:
            return self._keep(hour, sub, "disabled")
        if self._is_guest(sub):
            return self._keep(hour, sub, "guest")
        under_way_until = int(user["UserCreateDate"].timestamp()) + UNDER_WAY_SECONDS
        if under_way_until <= now:
            refusal = self._claim(sub, self._now())  # which the ledger's 30 s begin with
            if refusal is None:
                with contextlib.suppress(self._cognito.exceptions.UserNotFoundException):
                    self._cognito.admin_delete_user(UserPoolId=self._user_pool_id, Username=sub)
                return True
            if refusal == "signed_in":
                return self._keep(hour, sub, refusal)
            under_way_until = refusal
        self._list_again(hour, sub, under_way_until)
        return False

    def _claim(self, sub: str, now: int) -> Literal["signed_in"] | int | None:
        """Claim a user's item in the ledger.

        Returns:
            None if it is claimed; else why not: they have signed in, or when the wait ends.
        """
        values = {
            "now": now,
            "tomorrow": now + 24 * _HOUR_SECONDS,
            "before_sign_ins": now - UNDER_WAY_SECONDS,
            "before_wrong_answers": now - WRONG_ANSWERS_SECONDS,
        }
        try:
            self._dynamodb.update_item(
                TableName=self._ledger,
                Key={"sub": {"S": sub}},
                UpdateExpression=_CLAIM,
                ConditionExpression=_MAY_CLAIM,
                ExpressionAttributeValues={f":{k}": {"N": str(v)} for k, v in values.items()},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException as refused:
            item: Any = refused.response.get("Item", {})
            if "done_at" in item:
                return "signed_in"
            sent_at, wrong_at = (int(item.get(name, {"N": "0"})["N"]) for name in ("s0", "w0"))
            return max(sent_at + UNDER_WAY_SECONDS, wrong_at + WRONG_ANSWERS_SECONDS)
        return None

    def _is_guest(self, sub: str) -> bool:
        found = self._dynamodb.get_item(
            TableName=self._guests,
            Key={"cognito_sub": {"S": sub}},
            ProjectionExpression="cognito_sub",
            ConsistentRead=True,
        )
        return "Item" in found

    def _keep(self, hour: int, sub: str, reason: str) -> Literal[False]:
        self._unlist(hour, sub)
        logger.info("newcomer kept", sub=sub, reason=reason)
        return False

    def _list_again(self, hour: int, sub: str, wait_ends_at: int) -> None:
        """List a user under the hour that is due when their wait ends."""
        due = wait_ends_at // _HOUR_SECONDS - self._after_hours + 1
        if due <= hour:
            return  # it is due already, at the next run too
        self._dynamodb.update_item(
            TableName=self._guests,
            Key=_key(due),
            UpdateExpression="ADD subs :sub",
            ExpressionAttributeValues={":sub": {"SS": [sub]}},
        )
        self._unlist(hour, sub)

    def _unlist(self, hour: int, sub: str) -> None:
        with contextlib.suppress(self._dynamodb.exceptions.ConditionalCheckFailedException):
            left = self._dynamodb.update_item(
                TableName=self._guests,
                Key=_key(hour),
                UpdateExpression="DELETE subs :sub",
                ConditionExpression="attribute_exists(subs)",  # else another run is done with it
                ExpressionAttributeValues={":sub": {"SS": [sub]}},
                ReturnValues="ALL_NEW",
            )["Attributes"]
            if "subs" not in left:
                self._drop(hour)

    def _drop(self, hour: int) -> None:
        """Delete the list of an hour that is over, unless somebody has come to be on it."""
        with contextlib.suppress(self._dynamodb.exceptions.ConditionalCheckFailedException):
            self._dynamodb.delete_item(
                TableName=self._guests,
                Key=_key(hour),
                ConditionExpression="attribute_not_exists(subs)",
            )

    def _now(self) -> int:
        return int(self._clock())


def connect() -> tuple["CognitoIdentityProviderClient", "DynamoDBClient"]:
    """Make the clients; each call is tried again, as every step may be made twice."""
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": TRIES},
    )
    session: Any = clients.session()
    cognito: CognitoIdentityProviderClient = session.create_client("cognito-idp", config=config)
    dynamodb: DynamoDBClient = session.create_client("dynamodb", config=config)
    return cognito, dynamodb


def _key(hour: int) -> dict[str, Any]:
    return {"cognito_sub": {"S": f"newcomers#{hour}"}}


def _log(error: Exception, sub: str) -> None:
    response = getattr(error, "response", None) or {}
    logger.error(
        "newcomer not forgotten",
        sub=sub,
        error_type=type(error).__name__,
        error_code=response.get("Error", {}).get("Code"),
    )
