"""The rules of `lambdas/email_otp/ledger.py`, told simply: one user's ledger, second by second.

Nothing here knows of DynamoDB: lists of times are counted, and the code under test is compared
with what comes out. Times are epoch seconds.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, Self

TTL_SECONDS = 300
MAX_SENDS_PER_HOUR = 14
MAX_NEW_GUESTS_PER_HOUR = 6
LONG_DIGITS = 16
DAY = 24 * 3600

type Delivery = Literal["sending", "sent", "failed"]
type Kind = Literal["returning", "newcomer", "unknown"]
type Step = Literal["new", "again", "pretend", "join", "throttled", "died", "failed"]
type Accident = Literal[
    "send's answer lost", "count's answer lost", "count fails", "died before it", "died after it"
]
"""What befalls the two writes of a mail; `it` is the count in the stack's hour."""


@dataclass(eq=False)
class Code:
    """One code that a session is about, and what became of it; of a decoy there is no mail."""

    issued_at: int
    address: str
    digits: int
    attempts: int
    decoy: bool = False
    shown_at: int = 0
    text: str | None = None
    delivery: Delivery = "sending"
    mails: int = 1
    mailed_at: int = 0
    mail: object = None
    sign_ins: int = 0

    @property
    def expires_at(self) -> int:
        """Return the first second in which it no longer works."""
        return self.issued_at + TTL_SECONDS

    def looks_over(self, now: int) -> bool:
        """Tell whether its life is over, as callers are told."""
        return now >= self.shown_at + TTL_SECONDS

    def was_lost(self, now: int) -> bool:
        """Tell whether its mail has to be tried once more."""
        half_way = self.delivery == "sending" and now - self.mailed_at >= 4
        return half_way or self.delivery == "failed"

    def begin_mail(self, mails: int, now: int) -> None:
        """Note that a mail is begun, or pretended."""
        self.mails, self.mailed_at, self.delivery, self.mail = mails, now, "sending", object()

    def as_decoy(self) -> Self:
        """Return one that looks like it, and lives as long as it looks to."""
        return replace(self, decoy=True, text=None, issued_at=self.shown_at)


@dataclass
class Stack:
    """What all users share: the mails of each hour, by whom they went to, and by mailbox."""

    sends: dict[str, list[int]] = field(default_factory=dict)

    def take(self, name: str, limit: float, now: int) -> bool:
        """Take a mail from the clock's hour, if it has one left."""
        if self._in_hour(name, now) >= limit:
            return False
        self.sends.setdefault(name, []).append(now)
        return True

    def give_back(self, name: str) -> None:
        """Give back the mail taken last."""
        self.sends[name].pop()

    def is_busy(self, now: int) -> bool:
        """Tell whether one of the two budgets is used up."""
        return (
            self._in_hour("returning", now) >= MAX_SENDS_PER_HOUR
            or self._in_hour("newcomer", now) >= MAX_NEW_GUESTS_PER_HOUR
        )

    def _in_hour(self, name: str, now: int) -> int:
        return sum(at // 3600 == now // 3600 for at in self.sends.get(name, []))


@dataclass
class Person:
    """What must be remembered of one user. `busy` is what their last first round was told."""

    stack: Stack
    kind: Kind
    sends: list[int] = field(default_factory=list)
    wrong_answers: list[int] = field(default_factory=list)
    last: Code | None = None
    redeemed_through: int = 0
    done: tuple[str, int] = ("", 0)
    busy: bool = False

    def may_send(self, now: int) -> bool:
        """Tell whether a mail may be sent.

        At most 5 in 15 min and 20 in 24 h, but always after 10 min of quiet; never twice in 30 s.
        """
        if not self.sends:
            return True
        quiet_seconds = now - self.sends[-1]
        in_15_minutes = sum(at > now - 15 * 60 for at in self.sends)
        in_24_hours = sum(at > now - DAY for at in self.sends)
        few = in_15_minutes < 5 and in_24_hours < 20
        return quiet_seconds >= 30 and (few or quiet_seconds >= 600)

    def retry_after_seconds(self, now: int) -> int:
        """Return how long it is until the first second in which a mail may be sent."""
        return self.wait_seconds(now) or 30

    def wait_seconds(self, now: int) -> int:
        """Return how long it is until a mail may be sent; 0 if one may be now."""
        return next(wait for wait in range(601) if self.may_send(now + wait))

    def codes_are_long(self, now: int) -> bool:
        """Tell whether there were 10 wrong answers within 20 days."""
        return sum(at > now - 20 * DAY for at in self.wrong_answers) >= 10

    def is_live(self, code: Code, now: int) -> bool:
        """Tell whether an answer to this code would be decided at all."""
        return self.is_out(code, now) and self.redeemed_through < code.issued_at

    def is_out(self, code: Code, now: int) -> bool:
        """Tell whether neither time nor wrong answers have ended it."""
        return now < code.expires_at and self.is_not_killed(code, now)

    def is_not_killed(self, code: Code, now: int) -> bool:
        """Tell whether wrong answers have not ended it."""
        return code.digits == LONG_DIGITS or not self.codes_are_long(now)

    def first_round(
        self, address: str, mailbox: str, now: int, accident: Accident | None = None
    ) -> tuple[Step, int, Code | None]:
        """Begin a sign-in; return what it does, its retry_after_seconds and its code."""
        if accident == "died before it":
            return "died", 0, None
        if accident == "count fails":
            return "failed", 0, None
        limit = {"returning": MAX_SENDS_PER_HOUR, "newcomer": MAX_NEW_GUESTS_PER_HOUR}
        if accident == "count's answer lost":
            self.stack.take(self.kind, limit.get(self.kind, 10**9), now)
        # As it was before this mail.
        self.busy = self.stack.is_busy(now)
        has_mail = self.stack.take(self.kind, limit.get(self.kind, 10**9), now)
        if accident == "died after it" and has_mail:
            return "died", 0, None
        if has_mail and self.kind == "newcomer" and not self.stack.take(mailbox, 5, now):
            self.stack.give_back(self.kind)
            has_mail = False
        step, wait, code = self._reserve(address, now, mailed=has_mail and self.kind != "unknown")
        if has_mail and step not in ("new", "again", "pretend"):
            self.stack.give_back(self.kind)
            if self.kind == "newcomer":
                self.stack.give_back(mailbox)
        return step, wait, code

    def _reserve(self, address: str, now: int, *, mailed: bool) -> tuple[Step, int, Code | None]:
        if self.may_send(now):
            digits, attempts = (LONG_DIGITS, 1) if self.codes_are_long(now) else (6, 3)
            self.sends.append(now)
            last = self.last
            if mailed or not last or not self._is_kept(last, address, digits, now):
                last = self.last = Code(now, address, digits, attempts, not mailed)
            last.shown_at = now
            last.begin_mail(1, now)
            return "new" if mailed else "pretend", 30, last
        code, wait = self.last, self.retry_after_seconds(now)
        if not code or not (code.decoy or code.address == address) or code.looks_over(now):
            return "throttled", wait, None
        if not self.is_not_killed(code, now):
            return "throttled", wait, None
        good = self._is_good(code, now)
        if not code.was_lost(now):
            return "join", wait, code if good else code.as_decoy()
        if code.mails == 3:
            return "throttled", wait, None
        if not (good and mailed):
            code = self.last = replace(code, decoy=True, text=None)
        code.begin_mail(code.mails + 1, now)
        return "again" if good and mailed else "pretend", 30, code

    def _is_kept(self, code: Code, address: str, digits: int, now: int) -> bool:
        return (
            self._is_good(code, now)
            and code.address == address
            and code.digits == digits
            and code.delivery != "failed"
        )

    def _is_good(self, code: Code, now: int) -> bool:
        return not code.decoy and self.is_live(code, now)

    def answer(
        self, code: Code | None, text: str, address: str, call: str, now: int, *, known: bool
    ) -> bool:
        """Decide an answer. `call` names the Create call whose challenge it answers."""
        if code is None:
            return False
        right = known and not code.decoy and text == code.text and address == code.address
        if right and self.is_live(code, now):
            self.redeemed_through = self.sends[-1]
            self.done = (call, now)
            return True
        if not right and self.is_not_killed(code, now) and now < code.expires_at + 15 * 60:
            self.wrong_answers.append(now)
        return right and self.done[0] == call and now - self.done[1] < 15

    def later_round(self, code: Code, address: str, now: int) -> tuple[Code, Code, bool]:
        """Go on after a wrong answer; return what is answered, what is shown, and if it is over."""
        last, shown = self.last, code
        if (
            last
            and last is not code
            and last.shown_at >= code.issued_at
            and not last.looks_over(now)
            and self.is_not_killed(last, now)
            and (last.decoy or last.address == address)
        ):
            shown = last
            if self._is_good(last, now) and last.delivery != "failed":
                code = last
            elif not self._is_good(code, now):
                code = last.as_decoy()
        elif (
            last is code
            and not code.looks_over(now)
            and self.is_not_killed(code, now)
            and not self._is_good(code, now)
        ):
            code = code.as_decoy()
        over = shown.looks_over(now) or not self.is_not_killed(shown, now)
        return code, shown, over
