"""The ledger: one DynamoDB item a user that decides who may be mailed and which answers count.

Every rule is one conditional write, so DynamoDB, not this process, decides each race. The item
holds no address and no code. Attributes, times in epoch seconds:

    s0..s19           the last 20 sends, newest first
    w0..w9            the last 10 wrong answers, newest first
    challenge_id, issued_at, digits, max_attempts, key_version, address_digest
                      the last challenge, all that a joining session needs
    delivery, mails, mailed_at
                      sending | sent | failed, how often and when it was last tried
    redeemed_through  no code issued up to then works any more
    done_by, done_at  the answer that was redeemed last
    expires_at        DynamoDB's TTL, past every window above
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, ConnectionClosedError

from lambdas.email_otp.challenge import LONG_CODE_DIGITS, Challenge

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

COOLDOWN_SECONDS = 30
BURST_SENDS, BURST_SECONDS = 5, 15 * 60
DAILY_SENDS, DAILY_SECONDS = 20, 24 * 3600
QUIET_SECONDS = 10 * 60
"""After this long without a mail one more may always be sent."""
WRONG_ANSWERS, WRONG_ANSWERS_SECONDS = 10, 20 * 24 * 3600
MAILS_PER_CHALLENGE = 3
SENDING_SECONDS = 4
"""A mail still in state `sending` after this long was lost half-way."""
REPEAT_SECONDS = 15
"""How long a repeat of the redeemed answer stays right."""

_HOUR_SECONDS = 3600
_EXPIRY_SECONDS = WRONG_ANSWERS_SECONDS + DAILY_SECONDS
_PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Longest pauses before each new try: enough for 20 sends at once, 1.6 s at worst."""


def _shift(prefix: str, length: int) -> str:
    """Push :now onto a log of `length` attributes; right sides read the old values."""
    steps = [f"{prefix}0=:now"]
    steps += [f"{prefix}{i}=if_not_exists({prefix}{i - 1},:zero)" for i in range(1, length)]
    return ", ".join(steps)


_SEND = (
    f"SET {_shift('s', DAILY_SENDS)}, challenge_id=:id, issued_at=:now, digits=:digits, "
    "max_attempts=:max_attempts, key_version=:key_version, address_digest=:address_digest, "
    "delivery=:sending, mails=:one, mailed_at=:now, expires_at=:expires_at"
)
_MAY_SEND = (
    "(attribute_not_exists(s0) OR s0<=:cooled) "
    f"AND (attribute_not_exists(s{BURST_SENDS - 1}) OR s{BURST_SENDS - 1}<=:burst OR s0<=:quiet) "
    f"AND (attribute_not_exists(s{DAILY_SENDS - 1}) OR s{DAILY_SENDS - 1}<=:day OR s0<=:quiet)"
)
_FEW_WRONG_ANSWERS = (
    f"(attribute_not_exists(w{WRONG_ANSWERS - 1}) OR w{WRONG_ANSWERS - 1}<=:window)"
)
_MAY_SEND_SHORT = f"{_MAY_SEND} AND {_FEW_WRONG_ANSWERS}"
_SEND_FOR_STACK = "SET sends=if_not_exists(sends,:zero)+:one, expires_at=:expires_at"
_MAY_SEND_FOR_STACK = "attribute_not_exists(sends) OR sends<:max_sends"
_CLAIM = "SET delivery=:sending, mailed_at=:now, mails=mails+:one"
_DELIVERED = "SET delivery=:delivery"
_SAME_MAIL = "challenge_id=:id AND mails=:mails"
_MAY_CLAIM = f"{_SAME_MAIL} AND (delivery=:failed OR (delivery=:sending AND mailed_at<=:lost))"
_LIVE_LONG = "(attribute_not_exists(redeemed_through) OR redeemed_through<:issued)"
_LIVE_SHORT = f"{_LIVE_LONG} AND {_FEW_WRONG_ANSWERS}"
_COUNT = f"SET {_shift('w', WRONG_ANSWERS)}, expires_at=:expires_at"
_REDEEM = (
    "SET redeemed_through=if_not_exists(s0,:issued), done_by=:answer, done_at=:now, "
    "expires_at=:expires_at"
)
# A write, so that Verify needs no permission to read.
_UNCHANGED = "SET done_at=done_at"
_HAS_REDEEMED = "done_by=:answer AND done_at>:repeat"


@dataclass(frozen=True, slots=True)
class Reserved:
    """A mail may be sent, and is the `mails`-th one for this challenge."""

    challenge: Challenge
    mails: int


@dataclass(frozen=True, slots=True)
class Joined:
    """No mail may be sent now; the user's last challenge is still good."""

    challenge: Challenge
    retry_after_seconds: int


@dataclass(frozen=True, slots=True)
class Throttled:
    """No mail may be sent now, and no code may be joined."""

    retry_after_seconds: int


type _Item = dict[str, Any]


class Ledger:
    """The rules of sending and answering, over one table keyed by `sub`."""

    def __init__(
        self,
        client: "DynamoDBClient",
        table_name: str,
        *,
        code_ttl_seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._table_name = table_name
        self._ttl_seconds = code_ttl_seconds
        self._clock = clock

    def now(self) -> int:
        """Epoch seconds."""
        return int(self._clock())

    def reserve(
        self,
        user_key: str,
        challenge: Challenge,
        *,
        user_pool_id: str,
        max_sends_per_hour: int,
        went_to_same_address: Callable[[Challenge], bool],
    ) -> Reserved | Joined | Throttled:
        """Reserve one mail for a new challenge, or join the last one.

        Args:
            user_key: The ledger's key of the user.
            challenge: The new one; a user with many wrong answers gets its long form.
            user_pool_id: The stack's; stacks that share the table count their own mails.
            max_sends_per_hour: The stack's cap, counted by the clock hour (UTC).
            went_to_same_address: Whether a challenge was mailed to the user's address.
        """
        send_for_stack = self._send_for_stack(user_pool_id, challenge.issued_at, max_sends_per_hour)
        item = self._send(user_key, challenge, _MAY_SEND_SHORT, send_for_stack)
        if item and _has_many_wrong_answers(item, challenge.issued_at):
            challenge = replace(challenge, digits=LONG_CODE_DIGITS, max_attempts=1)
            item = self._send(user_key, challenge, _MAY_SEND, send_for_stack)
        # A send whose answer was lost is refused by itself the second time.
        if item is None or item.get("challenge_id") == {"S": challenge.id}:
            return Reserved(challenge, mails=1)
        # Judged by the same second as the send, or a limit that ends meanwhile is not seen.
        return self._join(user_key, item, challenge.issued_at, went_to_same_address)

    def delivered(self, user_key: str, reserved: Reserved, *, sent: bool) -> None:
        """Write how the mail went, unless another one has been begun since.

        Args:
            user_key: The ledger's key of the user.
            reserved: The mail.
            sent: Whether SES took it.
        """
        self._update(
            user_key,
            _DELIVERED,
            _SAME_MAIL,
            {
                ":delivery": {"S": "sent" if sent else "failed"},
                ":id": {"S": reserved.challenge.id},
                ":mails": _number(reserved.mails),
            },
        )

    def count_wrong_answer(self, user_key: str, challenge: Challenge) -> bool:
        """Count one wrong answer, if the challenge is live.

        Args:
            user_key: The ledger's key of the user.
            challenge: What was answered.

        Returns:
            Whether it was counted; what is not counted was not decided.
        """
        values = self._live_values(challenge) | {":zero": _number(0)}
        return self._update(user_key, _COUNT, _live(challenge), values) is None

    def redeem(self, user_key: str, challenge: Challenge, answer_digest: str) -> bool:
        """Use the code up, and every other one out; True if this answer is the one that did.

        Cognito may repeat a trigger whose reply it lost: the same answer to the same Create
        call stays right for 15 s.

        Args:
            user_key: The ledger's key of the user.
            challenge: What was answered.
            answer_digest: The challenge's own, which names this Create call's right answer.
        """
        values = self._live_values(challenge) | {":answer": {"S": answer_digest}}
        refused_by = self._update(user_key, _REDEEM, _live(challenge), values)
        return refused_by is None or (
            refused_by.get("done_by") == {"S": answer_digest}
            and _integer(refused_by, "done_at") > self.now() - REPEAT_SECONDS
        )

    def has_redeemed(self, user_key: str, answer_digest: str) -> bool:
        """Whether this answer used its code up within the last 15 s; changes nothing."""
        values: _Item = {
            ":answer": {"S": answer_digest},
            ":repeat": _number(self.now() - REPEAT_SECONDS),
        }
        return self._update(user_key, _UNCHANGED, _HAS_REDEEMED, values) is None

    def _send_for_stack(
        self, user_pool_id: str, now: int, max_sends_per_hour: int
    ) -> "TransactWriteItemTypeDef":
        """The write that counts one mail in the stack's hour, if it is not full."""
        return {
            "Update": {
                "TableName": self._table_name,
                "Key": {"sub": {"S": f"stack#{user_pool_id}#{now // _HOUR_SECONDS}"}},
                "UpdateExpression": _SEND_FOR_STACK,
                "ConditionExpression": _MAY_SEND_FOR_STACK,
                "ExpressionAttributeValues": {
                    ":zero": _number(0),
                    ":one": _number(1),
                    ":max_sends": _number(max_sends_per_hour),
                    ":expires_at": _number(now + _EXPIRY_SECONDS),
                },
            }
        }

    def _send(
        self,
        user_key: str,
        challenge: Challenge,
        condition: str,
        send_for_stack: "TransactWriteItemTypeDef",
    ) -> _Item | None:
        """Try the send; None if it is reserved, else the item that refused it."""
        now = challenge.issued_at
        values: _Item = {
            ":now": _number(now),
            ":zero": _number(0),
            ":one": _number(1),
            ":id": {"S": challenge.id},
            ":digits": _number(challenge.digits),
            ":max_attempts": _number(challenge.max_attempts),
            ":key_version": {"S": challenge.key_version},
            ":address_digest": {"S": challenge.address_digest},
            ":sending": {"S": "sending"},
            ":cooled": _number(now - COOLDOWN_SECONDS),
            ":burst": _number(now - BURST_SECONDS),
            ":day": _number(now - DAILY_SECONDS),
            ":quiet": _number(now - QUIET_SECONDS),
            ":expires_at": _number(now + _EXPIRY_SECONDS),
        }
        if condition is _MAY_SEND_SHORT:
            values[":window"] = _number(now - WRONG_ANSWERS_SECONDS)
        send_for_user: TransactWriteItemTypeDef = {
            "Update": {
                "TableName": self._table_name,
                "Key": {"sub": {"S": user_key}},
                "UpdateExpression": _SEND,
                "ConditionExpression": condition,
                "ExpressionAttributeValues": values,
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }
        try:
            _starting_over(
                lambda: self._client.transact_write_items(
                    TransactItems=[send_for_user, send_for_stack]
                )
            )
        except self._client.exceptions.TransactionCanceledException as canceled:
            user, stack = canceled.response["CancellationReasons"]
            if user["Code"] == "ConditionalCheckFailed":
                return dict(user["Item"])
            if stack["Code"] == "ConditionalCheckFailed":
                return self._read(user_key)
            raise
        return None

    def _join(
        self,
        user_key: str,
        item: _Item,
        now: int,
        went_to_same_address: Callable[[Challenge], bool],
    ) -> Reserved | Joined | Throttled:
        retry_after_seconds = self._retry_after_seconds(item, now)
        challenge = _last_challenge(item)
        if not (
            challenge
            and challenge.expires_at(self._ttl_seconds) > now
            and _integer(item, "redeemed_through") < challenge.issued_at
            and (challenge.is_long or not _has_many_wrong_answers(item, now))
            and went_to_same_address(challenge)
        ):
            return Throttled(retry_after_seconds)
        delivery = item["delivery"]["S"]
        lost = delivery == "sending" and _integer(item, "mailed_at") <= now - SENDING_SECONDS
        if delivery == "failed" or lost:
            mails = _integer(item, "mails")
            if mails >= MAILS_PER_CHALLENGE:
                return Throttled(retry_after_seconds)
            if self._claim(user_key, challenge, mails, now):
                return Reserved(challenge, mails + 1)
        return Joined(challenge, retry_after_seconds)

    def _claim(self, user_key: str, challenge: Challenge, mails: int, now: int) -> bool:
        """Take over a mail that failed or was lost half-way."""
        values: _Item = {
            ":id": {"S": challenge.id},
            ":mails": _number(mails),
            ":one": _number(1),
            ":failed": {"S": "failed"},
            ":sending": {"S": "sending"},
            ":now": _number(now),
            ":lost": _number(now - SENDING_SECONDS),
        }
        return self._update(user_key, _CLAIM, _MAY_CLAIM, values) is None

    def _retry_after_seconds(self, item: _Item, now: int) -> int:
        """Seconds until a mail may be sent to this user; the stack's hour if only that is full."""
        last = _integer(item, "s0")
        burst = _integer(item, f"s{BURST_SENDS - 1}") + BURST_SECONDS
        day = _integer(item, f"s{DAILY_SENDS - 1}") + DAILY_SECONDS
        quiet = last + QUIET_SECONDS
        wait = max(last + COOLDOWN_SECONDS, min(burst, quiet), min(day, quiet)) - now
        return wait if wait > 0 else _HOUR_SECONDS - now % _HOUR_SECONDS

    def _live_values(self, challenge: Challenge) -> _Item:
        now = self.now()
        values = {
            ":now": _number(now),
            ":issued": _number(challenge.issued_at),
            ":expires_at": _number(now + _EXPIRY_SECONDS),
        }
        if not challenge.is_long:
            values[":window"] = _number(now - WRONG_ANSWERS_SECONDS)
        return values

    def _read(self, user_key: str) -> _Item:
        response = self._client.get_item(
            TableName=self._table_name, Key={"sub": {"S": user_key}}, ConsistentRead=True
        )
        return response.get("Item", {})

    def _update(self, user_key: str, update: str, condition: str, values: _Item) -> _Item | None:
        """Try one conditional write; None if it was made, else the item that refused it."""
        try:
            _starting_over(
                lambda: self._client.update_item(
                    TableName=self._table_name,
                    Key={"sub": {"S": user_key}},
                    UpdateExpression=update,
                    ConditionExpression=condition,
                    ExpressionAttributeValues=values,
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            )
        except self._client.exceptions.ConditionalCheckFailedException as refused:
            old: _Item = refused.response.get("Item", {})  # type: ignore[assignment]
            return old
        return None


def _starting_over(write: Callable[[], object]) -> None:
    """Make a write, again if it was not decided on: every write here may be made twice.

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
    """Whether only another transaction stood in the way, so that nothing was decided."""
    if error.response["Error"]["Code"] == "TransactionConflictException":
        return True
    reasons: list[dict[str, Any]] = error.response.get("CancellationReasons", [])  # type: ignore[assignment]
    codes = {reason["Code"] for reason in reasons}
    return "TransactionConflict" in codes and "ConditionalCheckFailed" not in codes


def _live(challenge: Challenge) -> str:
    """The condition under which an answer to this challenge is decided at all."""
    return _LIVE_LONG if challenge.is_long else _LIVE_SHORT


def _has_many_wrong_answers(item: _Item, now: int) -> bool:
    return _integer(item, f"w{WRONG_ANSWERS - 1}") > now - WRONG_ANSWERS_SECONDS


def _last_challenge(item: _Item) -> Challenge | None:
    """The challenge in a ledger item, for a session that joins it."""
    if "challenge_id" not in item:
        return None
    return Challenge(
        id=item["challenge_id"]["S"],
        issued_at=_integer(item, "issued_at"),
        digits=_integer(item, "digits"),
        max_attempts=_integer(item, "max_attempts"),
        key_version=item["key_version"]["S"],
        address_digest=item["address_digest"]["S"],
        nonce="",
    ).with_new_nonce()


def _number(value: int) -> dict[str, str]:
    return {"N": str(value)}


def _integer(item: _Item, name: str) -> int:
    return int(item.get(name, {"N": "0"})["N"])
