"""An hour's mails: how many are left, and to whom, each taken by one conditional write.

Single writes and no transaction: they queue for an hour's item, where transactions refuse most
callers. A process that dies after one, or an answer that is lost, leaves the hour a mail short,
never one over. `ledger.py` says what the items are.
"""

import contextlib
from dataclasses import dataclass
from typing import Literal

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.email_otp.conditional_writes import Item, Table, Tried
from lambdas.email_otp.errors import OutOfTimeError

MAILBOX_SENDS_PER_HOUR = 5
"""To one newcomer's mailbox, however its address is spelled."""

_HOUR_SECONDS = 3600
_UNLIMITED = 10**12

type Refuser = Literal["hour", "mailbox"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a first round's mail is taken from.

    Attributes:
        user_pool_id: The stack's; stacks that share the table count their own mails.
        counter: Which of the hour's: of guests who have signed in before, of newcomers, or of
            users who do not exist, which is unlimited, since nobody is mailed.
        max_sends: The hour's limit to the first, counted by the clock hour (UTC).
        max_newcomer_sends: The same to newcomers.
        mailbox: The keyed digest of a newcomer's mailbox.
    """

    user_pool_id: str
    counter: Literal["sends", "newcomer_sends", "unknown_sends"]
    max_sends: int
    max_newcomer_sends: int
    mailbox: str | None = None

    def hour_key(self, now: int) -> str:
        """Name the hour's item."""
        return f"stack#{self.user_pool_id}#{now // _HOUR_SECONDS}"

    def mailbox_key(self, now: int) -> str | None:
        """Name the mailbox's item, if there is one."""
        return f"mailbox#{self.mailbox}#{now // _HOUR_SECONDS}" if self.mailbox else None

    @property
    def limit(self) -> int:
        """Return the counter's limit."""
        limits = {"sends": self.max_sends, "newcomer_sends": self.max_newcomer_sends}
        return limits.get(self.counter, _UNLIMITED)

    def is_busy(self, hour: Item) -> bool:
        """Tell whether somebody's mails of the hour are used up; the same for everybody."""
        sends: int = hour.get("sends", 0)
        newcomer_sends: int = hour.get("newcomer_sends", 0)
        return sends >= self.max_sends or newcomer_sends >= self.max_newcomer_sends


class Budgets:
    """Takes mails from budgets, and gives them back.

    Args:
        table: The ledger's.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def take(self, budget: Budget, now: int) -> tuple[bool, Refuser | None]:
        """Take a mail from the hour, and from a newcomer's mailbox.

        Returns:
            Whether mails are used up, and what has none left for this user.
        """
        hour = self._take(budget.hour_key(now), budget.counter, budget.limit, now)
        if not hour.made:
            return True, "hour"
        # As it was before: who took the last mail hears what a user who does not exist hears.
        before = {budget.counter: hour.item[budget.counter] - 1}
        busy = budget.is_busy(hour.item | before)
        mailbox_key = budget.mailbox_key(now)
        if mailbox_key and not self._take(mailbox_key, "sends", MAILBOX_SENDS_PER_HOUR, now).made:
            self._return(budget.hour_key(now), budget.counter, now)
            return busy, "mailbox"
        return busy, None

    def give_back(self, budget: Budget, now: int) -> None:
        """Give the mail back that was taken."""
        self._return(budget.hour_key(now), budget.counter, now)
        if mailbox_key := budget.mailbox_key(now):
            self._return(mailbox_key, "sends", now)

    def _take(self, key: str, counter: str, limit: int, now: int) -> Tried:
        return self._table.try_to(
            f"SET {counter}=if_not_exists({counter},:zero)+:one, expires_at=:expires_at",
            key,
            condition=f"attribute_not_exists({counter}) OR {counter}<:limit",
            now=now,
            values={"zero": 0, "one": 1, "limit": limit, "expires_at": now + 2 * _HOUR_SECONDS},
        )

    def _return(self, key: str, counter: str, now: int) -> None:
        """Count one mail less, once: twice would let one too many go. If that fails, it counts."""
        with contextlib.suppress(ClientError, BotoCoreError, OutOfTimeError):
            self._table.try_to(
                f"SET {counter}={counter}-:one",
                key,
                condition=f"{counter}>:zero",
                now=now,
                values={"zero": 0, "one": 1},
                once=True,
            )
