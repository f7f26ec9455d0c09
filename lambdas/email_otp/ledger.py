"""The ledger: the rules of who may be mailed and which answers count.

Every rule is one conditional write, so DynamoDB, not this process, decides each race. No item
holds an address or a code. Keys:

    <sub>                    one item a user
    unknown#<digest>         one item a name that no user has, hidden by the code key
    unmailed#<sub>           what a user was told of mails for which there was no budget
    stack#<pool>#<hour>      one item a user pool and clock hour (UTC), counted from 1970
    mailbox#<digest>#<hour>  one item a newcomer's mailbox and clock hour, hidden by the code key

Attributes of a user's item, times in epoch seconds:

    s0..s19           the last 20 sends, newest first
    w0..w9            the last 10 wrong answers, newest first
    challenge_id, issued_at, digits, max_attempts, key_version, address_digest
                      the last challenge, all that a joining session needs
    delivery, mails, mailed_at, mailed_by
                      sending | sent | failed, how often and when it was last tried, in which call
    redeemed_through  no code issued up to then works any more
    done_by, done_at  the answer that was redeemed last
    counted_by        the call that counted the last wrong answer
    forgotten_at      when the user was about to be deleted, as nobody ever answered
    expires_at        DynamoDB's TTL, past every window below

A pool's hour has `sends` to guests who have signed in before, `newcomer_sends` to those who have
not, `unknown_sends` that were none, and `expires_at`; a mailbox's has `sends`.

A first round takes a mail from its hour, a newcomer's also from their mailbox (`budgets.py`), then
writes its send into the user's item, and gives the mail back if the user may have none. In this
order the user's item never names a code that the hour has no mail for.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from lambdas.email_otp.budgets import Budget, Budgets, Refuser
from lambdas.email_otp.challenge import LONG_CODE_DIGITS, Challenge
from lambdas.email_otp.conditional_writes import Item, Table, Tried

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

COOLDOWN_SECONDS = 30
BURST_SENDS, BURST_SECONDS = 5, 15 * 60
DAILY_SENDS, DAILY_SECONDS = 20, 24 * 3600
QUIET_SECONDS = 10 * 60
"""After this long without a mail one more may always be sent."""
WRONG_ANSWERS, WRONG_ANSWERS_SECONDS = 10, 20 * 24 * 3600
FORGETTING_SECONDS = 30
"""So long after it was decided to delete a user, none of their sign-ins begins."""
MAILS_PER_CHALLENGE = 3
"""One send is never more mails than these, however often repeats take its mail over."""
SENDING_SECONDS = 4
"""A mail still in state `sending` after this long was lost half-way."""
REPEAT_SECONDS = 15
"""How long a repeat of the redeemed answer stays right."""

_EXPIRY_SECONDS = WRONG_ANSWERS_SECONDS + DAILY_SECONDS


class Wait(NamedTuple):
    """Time that has to pass, as a condition for DynamoDB and as a time for whoever waits.

    Attributes:
        condition: The condition that an item has to meet; `:ago_30` is the time 30 s ago.
        ends_at: Returns the first epoch second in which an item meets it.
    """

    condition: str
    ends_at: Callable[[Item], int]

    def __and__(self, other: "Wait") -> "Wait":
        """Wait for both."""
        return Wait(
            f"{self.condition} AND {other.condition}",
            lambda item: max(self.ends_at(item), other.ends_at(item)),
        )

    def __or__(self, other: "Wait") -> "Wait":
        """Wait for one of them."""
        return Wait(
            f"({self.condition} OR {other.condition})",
            lambda item: min(self.ends_at(item), other.ends_at(item)),
        )


def _after(attribute: str, seconds: int) -> Wait:
    """Wait until so long after an attribute's time; not at all where there is none."""
    return Wait(
        f"(attribute_not_exists({attribute}) OR {attribute}<=:ago_{seconds})",
        lambda item: item[attribute] + seconds if attribute in item else 0,
    )


SEND_WAIT = _after("forgotten_at", FORGETTING_SECONDS) & (
    _after("s0", QUIET_SECONDS)
    | (
        _after("s0", COOLDOWN_SECONDS)
        & _after(f"s{BURST_SENDS - 1}", BURST_SECONDS)
        & _after(f"s{DAILY_SENDS - 1}", DAILY_SECONDS)
    )
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
    "delivery=:sending, mails=:one, mailed_at=:now, mailed_by=:nonce, expires_at=:expires_at"
)
_CLAIM = "SET delivery=:sending, mailed_at=:now, mails=mails+:one, mailed_by=:nonce"
_DELIVERED = "SET delivery=:delivery"
_SAME_MAIL = "challenge_id=:id AND mails=:mails"
_MAY_CLAIM = (
    f"{_SAME_MAIL} AND (delivery=:failed OR "
    f"(delivery=:sending AND mailed_at<=:ago_{SENDING_SECONDS}))"
)
_LIVE_LONG = "(attribute_not_exists(redeemed_through) OR redeemed_through<:issued_at)"
_LIVE_SHORT = f"{_LIVE_LONG} AND {SHORT_CODE_WAIT.condition}"
_COUNT = f"SET {_log_now('w', WRONG_ANSWERS)}, counted_by=:call, expires_at=:expires_at"
_NOT_COUNTED = "(attribute_not_exists(counted_by) OR counted_by<>:call)"
_REDEEM = (
    "SET redeemed_through=if_not_exists(s0,:issued_at), done_by=:answer, done_at=:now, "
    "expires_at=:expires_at"
)
# Writes, so that the triggers need no permission to read.
_UNCHANGED = "SET done_at=done_at"
_NEVER = "challenge_id=:never"
_HAS_REDEEMED = f"done_by=:answer AND done_at>:ago_{REPEAT_SECONDS}"


@dataclass(frozen=True, slots=True)
class Reserved:
    """A mail may be sent, and is the `mails`-th one for this challenge.

    Of a decoy none is: a pause takes its place. `key` names the item that notes the delivery.
    """

    challenge: Challenge
    mails: int
    key: str


@dataclass(frozen=True, slots=True)
class Joined:
    """No mail may be sent now; the user's last challenge, or a decoy of it, is shown."""

    challenge: Challenge
    retry_after_seconds: int


@dataclass(frozen=True, slots=True)
class Throttled:
    """No mail may be sent now, and no code may be joined."""

    retry_after_seconds: int


type Outcome = Reserved | Joined | Throttled


class Reservation(NamedTuple):
    """What a first round may do, whether mails are used up, and what refused it one if so."""

    outcome: Outcome
    busy: bool
    refused_by: Refuser | None


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
        self._budgets = Budgets(self._table)
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
        budget: Budget,
        went_to_same_address: Callable[[Challenge], bool],
    ) -> Reservation:
        """Reserve one mail for a new challenge, or join the last one.

        Where the hour or the mailbox has no mail left, a decoy is reserved under the same limits,
        so that nobody sees a difference.

        Args:
            user_key: The ledger's key of the user.
            challenge: The new one; a user with many wrong answers gets its long form.
            budget: What its mail is taken from.
            went_to_same_address: Whether a challenge was mailed to the user's address.
        """
        # Use one second for every check: otherwise a limit that ends in between is missed.
        now = challenge.issued_at
        busy, refused_by = self._budgets.take(budget, now)
        if refused_by:
            outcome = self._reserve_decoy(user_key, challenge, went_to_same_address)
        else:
            outcome = self._reserve(user_key, challenge, went_to_same_address)
            if not isinstance(outcome, Reserved):
                self._budgets.give_back(budget, now)
        return Reservation(outcome, busy, refused_by)

    def delivered(self, reserved: Reserved, *, sent: bool) -> None:
        """Write how the mail went, unless another one has been begun since.

        Args:
            reserved: The mail.
            sent: Whether SES took it.
        """
        self._try(
            _DELIVERED,
            reserved.key,
            condition=_SAME_MAIL,
            now=self.now(),
            challenge=reserved.challenge,
            mails=reserved.mails,
            delivery="sent" if sent else "failed",
        )

    def after_wrong_answer(
        self,
        user_key: str,
        challenge: Challenge,
        went_to_same_address: Callable[[Challenge], bool],
    ) -> Challenge | None:
        """Return what a session goes on with after a wrong answer to `challenge`.

        That is the user's newest code if it is live, as in the mail that they look at, unless SES
        refused that mail; else `challenge`, or None if wrong answers have killed it. Whether it
        was redeemed elsewhere is not told: a stranger who began a sign-in would learn when the
        guest signs in.
        """
        now = self.now()
        item = self._read(user_key, now)
        last = _last_challenge(item)
        if (
            last
            and last.id != challenge.id
            and last.issued_at >= challenge.issued_at
            and self._is_out(last, item, now)
            and item.get("redeemed_through", 0) < last.issued_at
            and item["delivery"] != "failed"
            and went_to_same_address(last)
        ):
            return last
        killed = not challenge.is_long and SHORT_CODE_WAIT.ends_at(item) > now
        return None if killed else challenge.with_new_nonce()

    def count_wrong_answer(self, user_key: str, challenge: Challenge) -> bool:
        """Count one wrong answer, if the challenge is live.

        Args:
            user_key: The ledger's key of the user.
            challenge: What was answered.

        Returns:
            Whether it was counted. If not, no answer was judged.
        """
        call = secrets.token_hex(8)  # a try after a lost answer must not count once more
        tried = self._try(
            _COUNT,
            user_key,
            condition=f"{_NOT_COUNTED} AND {_live(challenge)}",
            now=self.now(),
            challenge=challenge,
            call=call,
        )
        return tried.made or tried.item.get("counted_by") == call

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
        now = self.now()
        tried = self._try(
            _REDEEM,
            user_key,
            condition=_live(challenge),
            now=now,
            challenge=challenge,
            answer=answer_digest,
        )
        item = tried.item
        return tried.made or (
            item.get("done_by") == answer_digest and item["done_at"] > now - REPEAT_SECONDS
        )

    def has_redeemed(self, user_key: str, answer_digest: str) -> bool:
        """Tell whether this answer used its code up within the last 15 s; change nothing."""
        now = self.now()
        return self._try(
            _UNCHANGED, user_key, condition=_HAS_REDEEMED, now=now, answer=answer_digest
        ).made

    def _try(
        self,
        update: str,
        key: str,
        *,
        condition: str,
        now: int,
        challenge: Challenge | None = None,
        **values: int | str,
    ) -> Tried:
        known: dict[str, int | str] = {
            "zero": 0,
            "one": 1,
            "sending": "sending",
            "failed": "failed",
            "never": "never",
            "expires_at": now + _EXPIRY_SECONDS,
        }
        known |= (asdict(challenge) if challenge else {}) | values
        return self._table.try_to(update, key, condition=condition, now=now, once=False, **known)

    def _read(self, key: str, now: int) -> Item:
        return self._try(_UNCHANGED, key, condition=_NEVER, now=now).item

    def _reserve(
        self, key: str, challenge: Challenge, went_to_same_address: Callable[[Challenge], bool]
    ) -> Outcome:
        """Reserve the send, by the limits of one item, or join what is in it."""
        now = challenge.issued_at
        tried = self._send(key, challenge, SEND_WAIT & SHORT_CODE_WAIT)
        if not tried.made and SHORT_CODE_WAIT.ends_at(tried.item) > now:
            challenge = _lengthened(challenge)
            tried = self._send(key, challenge, SEND_WAIT)
        # If DynamoDB's answer got lost, the next try is refused by our own send: the item then
        # names this challenge.
        if tried.made or tried.item.get("challenge_id") == challenge.id:
            return Reserved(challenge, 1, key)
        return self._join(key, tried.item, now, went_to_same_address)

    def _send(self, key: str, challenge: Challenge, wait: Wait) -> Tried:
        return self._try(
            _SEND, key, condition=wait.condition, now=challenge.issued_at, challenge=challenge
        )

    def _reserve_decoy(
        self, user_key: str, challenge: Challenge, went_to_same_address: Callable[[Challenge], bool]
    ) -> Outcome:
        """Join the user's live code, or reserve a decoy where a mail would have been sent."""
        now = challenge.issued_at
        item = self._read(user_key, now)
        joined = self._join(user_key, item, now, went_to_same_address, may_mail=False)
        if isinstance(joined, Joined) or SEND_WAIT.ends_at(item) > now:
            return joined
        decoy = challenge.as_decoy()
        if SHORT_CODE_WAIT.ends_at(item) > now:
            decoy = _lengthened(decoy)
        return self._reserve(f"unmailed#{user_key}", decoy, lambda other: other.is_decoy)

    def _join(
        self,
        key: str,
        item: Item,
        now: int,
        went_to_same_address: Callable[[Challenge], bool],
        *,
        may_mail: bool = True,
    ) -> Outcome:
        # Over, where it is the hour that has no mail.
        wait_seconds = SEND_WAIT.ends_at(item) - now
        retry_after_seconds = wait_seconds if wait_seconds > 0 else COOLDOWN_SECONDS
        challenge = _last_challenge(item)
        if not (
            challenge and self._is_out(challenge, item, now) and went_to_same_address(challenge)
        ):
            return Throttled(retry_after_seconds)
        if item.get("redeemed_through", 0) >= challenge.issued_at:
            # Else a stranger would learn here that the guest has signed in.
            return Joined(challenge.as_decoy(), retry_after_seconds)
        lost = item["delivery"] == "sending" and item["mailed_at"] <= now - SENDING_SECONDS
        if may_mail and (lost or item["delivery"] == "failed"):
            mails = item["mails"]
            if mails >= MAILS_PER_CHALLENGE:
                return Throttled(retry_after_seconds)
            claim = self._try(
                _CLAIM, key, condition=_MAY_CLAIM, now=now, challenge=challenge, mails=mails
            )
            # Refused by our own claim, if DynamoDB's answer to it got lost.
            if claim.made or claim.item.get("mailed_by") == challenge.nonce:
                return Reserved(challenge, mails + 1, key)
        return Joined(challenge, retry_after_seconds)

    def _is_out(self, challenge: Challenge, item: Item, now: int) -> bool:
        """Tell whether neither time nor wrong answers have ended it."""
        return challenge.expires_at(self._ttl_seconds) > now and (
            challenge.is_long or SHORT_CODE_WAIT.ends_at(item) <= now
        )


def _lengthened(challenge: Challenge) -> Challenge:
    return replace(challenge, digits=LONG_CODE_DIGITS, max_attempts=1)


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
