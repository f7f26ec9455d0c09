"""The ledger: the rules of who may be mailed and which answers count.

Every rule is one conditional write, so DynamoDB, not this process, decides each race. No item
holds an address or a code. Keys:

    <sub>                    one item a user
    unknown#<digest>         one item a name that no user has, hidden by the code key
    stack#<pool>#<hour>      one item a user pool and clock hour (UTC), counted from 1970
    mailbox#<digest>#<hour>  one item a newcomer's mailbox and clock hour, hidden by the code key

Attributes of a user's item, times in epoch seconds:

    s0..s19           the last 20 sends, newest first
    w0..w9            the last 10 wrong answers, newest first
    challenge_id, issued_at, digits, max_attempts, key_version, address_digest
                      the last challenge, all that a joining session needs, or a decoy of one
    shown_at          when its life began as callers are told: later than `issued_at` where a mail
                      that there was no budget for would have brought a new one
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
order the user's item never names a code that the hour has no mail for. Where there is none left,
the send is written all the same, without a new code: so nobody can tell it from a mailed one.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Self

from lambdas.email_otp.budgets import Budget, Budgets, Refuser
from lambdas.email_otp.challenge import LONG_CODE_DIGITS, NOBODY, Challenge
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


_SENT = (
    f"{_log_now('s', DAILY_SENDS)}, shown_at=:now, delivery=:sending, mails=:one, mailed_at=:now, "
    "mailed_by=:nonce, expires_at=:expires_at"
)
_SEND = (
    f"SET {_SENT}, challenge_id=:id, issued_at=:now, digits=:digits, max_attempts=:max_attempts, "
    "key_version=:key_version, address_digest=:address_digest"
)
_PRETEND = f"SET {_SENT}"
# The code that is out stays, if a new one would have as many digits.
_KEEPS_CODE = (
    "issued_at>:born AND delivery<>:failed AND address_digest=:address_digest AND "
    "(attribute_not_exists(redeemed_through) OR redeemed_through<issued_at) AND "
    f"((digits=:digits AND {SHORT_CODE_WAIT.condition}) OR "
    f"(digits=:long_digits AND w{WRONG_ANSWERS - 1}>:ago_{WRONG_ANSWERS_SECONDS}))"
)
_CLAIM = "SET delivery=:sending, mailed_at=:now, mails=mails+:one, mailed_by=:nonce"
_CLAIM_AS_DECOY = f"{_CLAIM}, address_digest=:nobody"
_DELIVERED = "SET delivery=:delivery"
_SAME_MAIL = "mailed_by=:nonce"
_MAY_CLAIM = (
    "challenge_id=:id AND mails=:mails AND (delivery=:failed OR "
    f"(delivery=:sending AND mailed_at<=:ago_{SENDING_SECONDS}))"
)
_COUNT = f"SET {_log_now('w', WRONG_ANSWERS)}, counted_by=:call, expires_at=:expires_at"
_NOT_COUNTED = "(attribute_not_exists(counted_by) OR counted_by<>:call)"
_NOT_REDEEMED = "(attribute_not_exists(redeemed_through) OR redeemed_through<:issued_at)"
_REDEEM = (
    "SET redeemed_through=if_not_exists(s0,:issued_at), done_by=:answer, done_at=:now, "
    "expires_at=:expires_at"
)
# Writes, so that the triggers need no permission to read.
_UNCHANGED = "SET done_at=done_at"
_NEVER = "challenge_id=:never"
_HAS_REDEEMED = f"done_by=:answer AND done_at>:ago_{REPEAT_SECONDS}"


class Look(NamedTuple):
    """What callers are told of a challenge: digits, answers to a session, when its life began."""

    digits: int
    max_attempts: int
    shown_at: int

    @classmethod
    def of(cls, challenge: Challenge, shown_at: int | None = None) -> Self:
        """Return a challenge's, whose life began when it was issued unless told otherwise."""
        began_at = challenge.issued_at if shown_at is None else shown_at
        return cls(challenge.digits, challenge.max_attempts, began_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """A mail with this challenge's code may be sent, or a pause takes its place.

    Attributes:
        challenge: What is answered.
        look: What callers are told of it.
        key: Of the item that notes the delivery.
        nonce: The mail's own, in that item.
        pretended: Whether there is no mail.
    """

    challenge: Challenge
    look: Look
    key: str
    nonce: str
    pretended: bool


@dataclass(frozen=True, slots=True)
class Joined:
    """No mail may be sent now; the user's last challenge, or a decoy of it, is shown."""

    challenge: Challenge
    look: Look
    retry_after_seconds: int


@dataclass(frozen=True, slots=True)
class Throttled:
    """No mail may be sent now, and no code may be joined."""

    retry_after_seconds: int


class NextRound(NamedTuple):
    """What a session goes on with: what is answered, what callers are told, and if it is over."""

    challenge: Challenge
    look: Look
    is_over: bool
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

    def connect(self) -> None:
        """Open the connection to the table."""
        self._table.connect()

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

        Where the hour or the mailbox has no mail left, one is pretended under the same limits, so
        that nobody sees a difference: with the code that is out, or a decoy.

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
            outcome = self._pretend(user_key, challenge, went_to_same_address)
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
            nonce=reserved.nonce,
            delivery="sent" if sent else "failed",
        )

    def after_wrong_answer(
        self,
        user_key: str,
        challenge: Challenge,
        went_to_same_address: Callable[[Challenge], bool],
    ) -> NextRound:
        """Return what a session goes on with after a wrong answer to `challenge`.

        It looks as the user's newest challenge does, and takes its code up if there is one: the
        guest looks at the newest mail. It is over when its time is, or wrong answers have killed
        it. That a code was redeemed elsewhere is not told: a stranger who began a sign-in would
        learn when the guest signs in.
        """
        now = self.now()
        item = self._read(user_key, now)
        last, look = _last_challenge(item), Look.of(challenge)
        if last:
            newest = Look.of(last, item.get("shown_at"))
            if (
                newest.shown_at >= challenge.issued_at
                and self._is_out(newest, item, now)
                and (last.is_decoy or went_to_same_address(last))
            ):
                look = newest
                if self._is_good(last, item, now) and item["delivery"] != "failed":
                    challenge = last
                elif not self._is_good(challenge, item, now):
                    challenge = _decoy_of(last, look)
        return NextRound(
            challenge.with_new_nonce(),
            look,
            is_over=not self._is_out(look, item, now),
            retry_after_seconds=max(0, SEND_WAIT.ends_at(item) - now),
        )

    def count_wrong_answer(self, user_key: str, challenge: Challenge) -> bool:
        """Count one wrong answer, to a code that was redeemed already too.

        Else a stranger's answers would tell that the guest has signed in.

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
            condition=_if_not_killed(challenge, _NOT_COUNTED),
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
            condition=_if_not_killed(challenge, _NOT_REDEEMED),
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
            "nobody": NOBODY,
            "long_digits": LONG_CODE_DIGITS,
            "born": now - self._ttl_seconds,
            "expires_at": now + _EXPIRY_SECONDS,
        }
        known |= (asdict(challenge) if challenge else {}) | values
        return self._table.try_to(update, key, condition=condition, now=now, values=known)

    def _read(self, key: str, now: int) -> Item:
        return self._try(_UNCHANGED, key, condition=_NEVER, now=now).item

    def _reserve(
        self,
        key: str,
        challenge: Challenge,
        went_to_same_address: Callable[[Challenge], bool],
        *,
        may_mail: bool = True,
    ) -> Outcome:
        """Reserve the send, by the limits of the user's item, or join what is in it."""
        now = challenge.issued_at
        tried = self._send(key, challenge, SEND_WAIT & SHORT_CODE_WAIT)
        if not tried.made and SHORT_CODE_WAIT.ends_at(tried.item) > now:
            challenge = replace(challenge, digits=LONG_CODE_DIGITS, max_attempts=1)
            tried = self._send(key, challenge, SEND_WAIT)
        if _was_made(tried, challenge.nonce):
            return Reserved(
                challenge=challenge,
                look=Look.of(challenge),
                key=key,
                nonce=challenge.nonce,
                pretended=challenge.is_decoy,
            )
        return self._join(key, tried.item, now, went_to_same_address, may_mail=may_mail)

    def _send(self, key: str, challenge: Challenge, wait: Wait) -> Tried:
        return self._try(
            _SEND, key, condition=wait.condition, now=challenge.issued_at, challenge=challenge
        )

    def _pretend(
        self, key: str, challenge: Challenge, went_to_same_address: Callable[[Challenge], bool]
    ) -> Outcome:
        """Reserve a send without a mail, for the code that is out or for a decoy."""
        now = challenge.issued_at
        tried = self._try(
            _PRETEND,
            key,
            condition=f"{SEND_WAIT.condition} AND {_KEEPS_CODE}",
            now=now,
            challenge=challenge,
        )
        last = _last_challenge(tried.item)
        if last and _was_made(tried, challenge.nonce):
            return Reserved(
                challenge=last,
                look=Look.of(last, now),
                key=key,
                nonce=challenge.nonce,
                pretended=True,
            )
        return self._reserve(key, challenge.as_decoy(), went_to_same_address, may_mail=False)

    def _join(
        self,
        key: str,
        item: Item,
        now: int,
        went_to_same_address: Callable[[Challenge], bool],
        *,
        may_mail: bool,
    ) -> Outcome:
        wait_seconds = SEND_WAIT.ends_at(item) - now
        retry_after_seconds = wait_seconds if wait_seconds > 0 else COOLDOWN_SECONDS
        last = _last_challenge(item)
        if not last or not (last.is_decoy or went_to_same_address(last)):
            return Throttled(retry_after_seconds)
        look = Look.of(last, item.get("shown_at"))
        if not self._is_out(look, item, now):
            return Throttled(retry_after_seconds)
        # Else a stranger would learn here that the guest has signed in.
        challenge = last if self._is_good(last, item, now) else _decoy_of(last, look)
        lost = item["delivery"] == "sending" and item["mailed_at"] <= now - SENDING_SECONDS
        if not lost and item["delivery"] != "failed":
            return Joined(challenge, look, retry_after_seconds)
        mails = item["mails"]
        if mails >= MAILS_PER_CHALLENGE:
            return Throttled(retry_after_seconds)
        pretended = challenge.is_decoy or not may_mail
        if pretended:
            challenge = _decoy_of(last, look)
        claim = self._try(
            _CLAIM_AS_DECOY if pretended else _CLAIM,
            key,
            condition=_MAY_CLAIM,
            now=now,
            challenge=last,
            mails=mails,
        )
        if not _was_made(claim, last.nonce):
            return Joined(challenge, look, retry_after_seconds)
        return Reserved(
            challenge=challenge, look=look, key=key, nonce=last.nonce, pretended=pretended
        )

    def _is_out(self, look: Look, item: Item, now: int) -> bool:
        """Tell whether neither time nor wrong answers have ended it, as callers are told."""
        return look.shown_at + self._ttl_seconds > now and (
            look.digits >= LONG_CODE_DIGITS or SHORT_CODE_WAIT.ends_at(item) <= now
        )

    def _is_good(self, challenge: Challenge, item: Item, now: int) -> bool:
        """Tell whether a challenge that looks to be out has a code, neither too old nor used."""
        return (
            not challenge.is_decoy
            and challenge.expires_at(self._ttl_seconds) > now
            and item.get("redeemed_through", 0) < challenge.issued_at
        )


def _decoy_of(challenge: Challenge, look: Look) -> Challenge:
    """Make a decoy that lives as long as the challenge looks to."""
    return replace(challenge.as_decoy(), issued_at=look.shown_at)


def _was_made(tried: Tried, nonce: str) -> bool:
    """Tell whether a send or claim was made, now or by a try whose answer got lost."""
    return tried.made or tried.item.get("mailed_by") == nonce


def _if_not_killed(challenge: Challenge, condition: str) -> str:
    """Add to a condition that wrong answers have not killed the code; a long one they never do."""
    return condition if challenge.is_long else f"{condition} AND {SHORT_CODE_WAIT.condition}"


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
