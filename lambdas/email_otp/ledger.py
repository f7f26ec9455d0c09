"""The ledger: the rules of who may be mailed and which answers count.

Every rule is one conditional write, so DynamoDB, not this process, decides each race. No item
holds an address or a code. Keys:

    <sub>                  one item a user
    unknown#<digest>       one item a name that no user has, hidden by the code key
    stack#<pool>#<hour>    one item a user pool and clock hour (UTC), counted from 1970

Attributes of a user's item, times in epoch seconds:

    s0..s19           the last 20 sends, newest first
    w0..w9            the last 10 wrong answers, newest first
    challenge_id, issued_at, digits, max_attempts, key_version, address_digest
                      the last challenge, all that a joining session needs
    delivery, mails, mailed_at
                      sending | sent | failed, how often and when it was last tried
    redeemed_through  no code issued up to then works any more
    done_by, done_at  the answer that was redeemed last
    expires_at        DynamoDB's TTL, past every window below

A pool's hour has `sends`, the mails begun in it, and `expires_at`.

A first round takes a mail from its hour, then writes its send into the user's item, and gives the
mail back if the user may have none. Two writes and no transaction: single writes queue for the
hour's item, transactions on an item that everybody writes refuse most callers. In this order the
user's item never names a code that the hour has no mail for. A process that dies in between, or
an answer that is lost, leaves the hour a mail short, never one over.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.email_otp.challenge import LONG_CODE_DIGITS, Challenge
from lambdas.email_otp.conditional_writes import Item, Table, Write

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

COOLDOWN_SECONDS = 30
BURST_SENDS, BURST_SECONDS = 5, 15 * 60
DAILY_SENDS, DAILY_SECONDS = 20, 24 * 3600
QUIET_SECONDS = 10 * 60
"""After this long without a mail one more may always be sent."""
WRONG_ANSWERS, WRONG_ANSWERS_SECONDS = 10, 20 * 24 * 3600
MAILS_PER_CHALLENGE = 3
"""One send is never more mails than these, however often repeats take its mail over."""
SENDING_SECONDS = 4
"""A mail still in state `sending` after this long was lost half-way."""
REPEAT_SECONDS = 15
"""How long a repeat of the redeemed answer stays right."""

_HOUR_SECONDS = 3600
_EXPIRY_SECONDS = WRONG_ANSWERS_SECONDS + DAILY_SECONDS


class Wait(NamedTuple):
    """Time that has to pass, as a condition for DynamoDB and as a time for whoever waits.

    Attributes:
        is_over: The condition that an item has to meet; `:ago_30` is the time 30 s ago.
        ends_at: Returns the first epoch second in which an item meets it.
    """

    is_over: str
    ends_at: Callable[[Item], int]

    def __and__(self, other: "Wait") -> "Wait":
        """Wait for both."""
        return Wait(
            f"{self.is_over} AND {other.is_over}",
            lambda item: max(self.ends_at(item), other.ends_at(item)),
        )

    def __or__(self, other: "Wait") -> "Wait":
        """Wait for one of them."""
        return Wait(
            f"({self.is_over} OR {other.is_over})",
            lambda item: min(self.ends_at(item), other.ends_at(item)),
        )


def _after(attribute: str, seconds: int) -> Wait:
    """Wait until so long after an attribute's time; not at all where there is none."""
    return Wait(
        f"(attribute_not_exists({attribute}) OR {attribute}<=:ago_{seconds})",
        lambda item: item[attribute] + seconds if attribute in item else 0,
    )


SEND_WAIT = _after("s0", QUIET_SECONDS) | (
    _after("s0", COOLDOWN_SECONDS)
    & _after(f"s{BURST_SENDS - 1}", BURST_SECONDS)
    & _after(f"s{DAILY_SENDS - 1}", DAILY_SECONDS)
)
SHORT_CODE_WAIT = _after(f"w{WRONG_ANSWERS - 1}", WRONG_ANSWERS_SECONDS)
"""Until it is over, codes are long, and short ones already mailed do not work."""


def _log_now(log: str, length: int) -> str:
    """Write :now as the newest time of a log; right sides of an update read the old values."""
    steps = [f"{log}0=:now"]
    steps += [f"{log}{i}=if_not_exists({log}{i - 1},:zero)" for i in range(1, length)]
    return ", ".join(steps)


_SEND = (
    f"SET {_log_now('s', DAILY_SENDS)}, challenge_id=:id, issued_at=:now, digits=:digits, "
    "max_attempts=:max_attempts, key_version=:key_version, address_digest=:address_digest, "
    "delivery=:sending, mails=:one, mailed_at=:now, expires_at=:expires_at"
)
_SEND_FOR_STACK = "SET sends=if_not_exists(sends,:zero)+:one, expires_at=:expires_at"
_MAY_SEND_FOR_STACK = "attribute_not_exists(sends) OR sends<:max_sends"
_GIVE_BACK = "SET sends=sends-:one"
_HAS_SENT = "sends>:zero"
_CLAIM = "SET delivery=:sending, mailed_at=:now, mails=mails+:one"
_DELIVERED = "SET delivery=:delivery"
_SAME_MAIL = "challenge_id=:id AND mails=:mails"
_MAY_CLAIM = (
    f"{_SAME_MAIL} AND (delivery=:failed OR "
    f"(delivery=:sending AND mailed_at<=:ago_{SENDING_SECONDS}))"
)
_LIVE_LONG = "(attribute_not_exists(redeemed_through) OR redeemed_through<:issued_at)"
_LIVE_SHORT = f"{_LIVE_LONG} AND {SHORT_CODE_WAIT.is_over}"
_COUNT = f"SET {_log_now('w', WRONG_ANSWERS)}, expires_at=:expires_at"
_REDEEM = (
    "SET redeemed_through=if_not_exists(s0,:issued_at), done_by=:answer, done_at=:now, "
    "expires_at=:expires_at"
)
# A write, so that Verify needs no permission to read.
_UNCHANGED = "SET done_at=done_at"
_HAS_REDEEMED = f"done_by=:answer AND done_at>:ago_{REPEAT_SECONDS}"


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
        self._table = Table(client, table_name)
        self._ttl_seconds = code_ttl_seconds
        self._clock = clock

    def now(self) -> int:
        """Return the time, in epoch seconds."""
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
        # Use one second for every check: otherwise a limit that ends in between is missed.
        now = challenge.issued_at
        hour = f"stack#{user_pool_id}#{now // _HOUR_SECONDS}"
        if not self._take_mail(hour, now, max_sends_per_hour):
            last = self._read(user_key, challenge)
            return self._join(user_key, last, now, went_to_same_address, hour_is_full=True)
        item = self._send(user_key, challenge, SEND_WAIT & SHORT_CODE_WAIT)
        if item and SHORT_CODE_WAIT.ends_at(item) > now:
            challenge = replace(challenge, digits=LONG_CODE_DIGITS, max_attempts=1)
            item = self._send(user_key, challenge, SEND_WAIT)
        # If DynamoDB's answer got lost, the retry is refused by our own send: the item then
        # names this challenge.
        if item is None or item.get("challenge_id") == challenge.id:
            return Reserved(challenge, mails=1)
        outcome = self._join(user_key, item, now, went_to_same_address)
        if not isinstance(outcome, Reserved):
            self._give_back(hour, now)
        return outcome

    def delivered(self, user_key: str, reserved: Reserved, *, sent: bool) -> None:
        """Write how the mail went, unless another one has been begun since.

        Args:
            user_key: The ledger's key of the user.
            reserved: The mail.
            sent: Whether SES took it.
        """
        write = self._write(
            user_key,
            _DELIVERED,
            _SAME_MAIL,
            self.now(),
            reserved.challenge,
            mails=reserved.mails,
            delivery="sent" if sent else "failed",
        )
        self._table.make(write)

    def count_wrong_answer(self, user_key: str, challenge: Challenge) -> bool:
        """Count one wrong answer, if the challenge is live.

        Args:
            user_key: The ledger's key of the user.
            challenge: What was answered.

        Returns:
            Whether it was counted. If not, no answer was judged.
        """
        write = self._write(user_key, _COUNT, _live(challenge), self.now(), challenge)
        return self._table.make(write) is None

    def redeem(self, user_key: str, challenge: Challenge, answer_digest: str) -> bool:
        """Use up the code, and every other one that is out.

        Args:
            user_key: The ledger's key of the user.
            challenge: What was answered.
            answer_digest: The challenge's own, which names this Create call's right answer.

        Returns:
            Whether this answer is the one that did, now or within the last 15 s: Cognito may
            repeat a trigger whose reply it lost.
        """
        now, live = self.now(), _live(challenge)
        write = self._write(user_key, _REDEEM, live, now, challenge, answer=answer_digest)
        item = self._table.make(write)
        return item is None or (
            item.get("done_by") == answer_digest and item["done_at"] > now - REPEAT_SECONDS
        )

    def has_redeemed(self, user_key: str, answer_digest: str) -> bool:
        """Tell whether this answer used its code up within the last 15 s; change nothing."""
        write = self._write(user_key, _UNCHANGED, _HAS_REDEEMED, self.now(), answer=answer_digest)
        return self._table.make(write) is None

    def _write(
        self,
        key: str,
        update: str,
        condition: str,
        now: int,
        challenge: Challenge | None = None,
        **values: int | str,
    ) -> Write:
        values |= {"zero": 0, "one": 1, "sending": "sending", "failed": "failed"}
        values |= {"expires_at": now + _EXPIRY_SECONDS} | (asdict(challenge) if challenge else {})
        return self._table.write(key, update, condition, now=now, **values)

    def _send(self, user_key: str, challenge: Challenge, wait: Wait) -> Item | None:
        """Try the send; return None if it is reserved, else the user's item."""
        send = self._write(user_key, _SEND, wait.is_over, challenge.issued_at, challenge)
        return self._table.make(send)

    def _take_mail(self, hour: str, now: int, max_sends: int) -> bool:
        """Take one mail from an hour; return False if it has none left."""
        write = self._write(hour, _SEND_FOR_STACK, _MAY_SEND_FOR_STACK, now, max_sends=max_sends)
        return self._table.make(write) is None

    def _give_back(self, hour: str, now: int) -> None:
        """Give the mail back that was taken. If that fails, it stays counted."""
        with contextlib.suppress(ClientError, BotoCoreError):
            self._table.make(self._write(hour, _GIVE_BACK, _HAS_SENT, now), once=True)

    def _read(self, user_key: str, new: Challenge) -> Item:
        """Read the user's item: by a write for a challenge that no item can name yet.

        Create has no other permission on the table than to update it.
        """
        write = self._write(user_key, _UNCHANGED, "challenge_id=:id", new.issued_at, new)
        return self._table.make(write) or {}

    def _join(
        self,
        user_key: str,
        item: Item,
        now: int,
        went_to_same_address: Callable[[Challenge], bool],
        *,
        hour_is_full: bool = False,
    ) -> Reserved | Joined | Throttled:
        retry_after_seconds = SEND_WAIT.ends_at(item) - now
        if hour_is_full:
            retry_after_seconds = _HOUR_SECONDS - now % _HOUR_SECONDS
        challenge = _last_challenge(item)
        if not (
            challenge
            and challenge.expires_at(self._ttl_seconds) > now
            and item.get("redeemed_through", 0) < challenge.issued_at
            and (challenge.is_long or SHORT_CODE_WAIT.ends_at(item) <= now)
            and went_to_same_address(challenge)
        ):
            return Throttled(retry_after_seconds)
        lost = item["delivery"] == "sending" and item["mailed_at"] <= now - SENDING_SECONDS
        if hour_is_full and lost:
            return Joined(challenge, retry_after_seconds)  # it may have arrived all the same
        if item["delivery"] == "failed" or lost:
            mails = item["mails"]
            if hour_is_full or mails >= MAILS_PER_CHALLENGE:
                return Throttled(retry_after_seconds)
            claim = self._write(user_key, _CLAIM, _MAY_CLAIM, now, challenge, mails=mails)
            if self._table.make(claim) is None:
                return Reserved(challenge, mails + 1)
        return Joined(challenge, retry_after_seconds)


def _live(challenge: Challenge) -> str:
    """Return the condition under which an answer to this challenge is decided at all."""
    return _LIVE_LONG if challenge.is_long else _LIVE_SHORT


def _last_challenge(item: Item) -> Challenge | None:
    """Read the challenge in a ledger item, for a session that joins it."""
    if "challenge_id" not in item:
        return None
    return Challenge(
        id=item["challenge_id"],
        issued_at=item["issued_at"],
        digits=item["digits"],
        max_attempts=item["max_attempts"],
        key_version=item["key_version"],
        address_digest=item["address_digest"],
        nonce="",
    ).with_new_nonce()
