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
type Step = Literal["new", "again", "join", "throttled", "died", "failed"]
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
    text: str | None = None
    delivery: Delivery = "sending"
    mails: int = 1
    mailed_at: int = 0
    sign_ins: int = 0

    @property
    def expires_at(self) -> int:
        """Return the first second in which it no longer works."""
        return self.issued_at + TTL_SECONDS

    def was_lost(self, now: int) -> bool:
        """Tell whether its mail has to be tried once more."""
        half_way = self.delivery == "sending" and now - self.mailed_at >= 4
        return half_way or self.delivery == "failed"

    def as_decoy(self) -> Self:
        """Return one that looks like it."""
        return replace(self, decoy=True, text=None)


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
    unmailed: "Person | None" = None

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
        if self.may_send(now):
            return 30
        return next(wait for wait in range(1, 601) if self.may_send(now + wait))

    def codes_are_long(self, now: int) -> bool:
        """Tell whether there were 10 wrong answers within 20 days."""
        return sum(at > now - 20 * DAY for at in self.wrong_answers) >= 10

    def is_live(self, code: Code, now: int) -> bool:
        """Tell whether an answer to this code would be decided at all."""
        return self.is_out(code, now) and self.redeemed_through < code.issued_at

    def is_out(self, code: Code, now: int) -> bool:
        """Tell whether neither time nor wrong answers have ended it."""
        return now < code.expires_at and (
            code.digits == LONG_DIGITS or not self.codes_are_long(now)
        )

    def first_round(
        self, address: str, mailbox: str, now: int, accident: Accident | None = None
    ) -> tuple[Step, int, Code | None]:
        """Begin a sign-in; return what it does, its retry_after_seconds and its code."""
        if accident == "died before it":
            return "died", 0, None
        if accident == "count fails":
            return "failed", 0, None
        limit = {"returning": MAX_SENDS_PER_HOUR, "newcomer": MAX_NEW_GUESTS_PER_HOUR}
        times = 2 if accident == "count's answer lost" else 1
        has_mail = all(
            self.stack.take(self.kind, limit.get(self.kind, 10**9), now) for _ in range(times)
        )
        self.busy = self.stack.is_busy(now)
        if accident == "died after it" and has_mail:
            return "died", 0, None
        if has_mail and self.kind == "newcomer" and not self.stack.take(mailbox, 5, now):
            self.stack.give_back(self.kind)
            has_mail = False
        if not has_mail:
            return self._first_round_without_a_mail(address, now)
        step, wait, code = self._reserve(address, now, decoy=self.kind == "unknown")
        if step not in ("new", "again"):
            self.stack.give_back(self.kind)
            if self.kind == "newcomer":
                self.stack.give_back(mailbox)
        return step, wait, code

    def _first_round_without_a_mail(self, address: str, now: int) -> tuple[Step, int, Code | None]:
        if self.last and self._may_join(self.last, address, now):
            return "join", self.retry_after_seconds(now), self._joined(self.last)
        if not self.may_send(now):
            return "throttled", self.retry_after_seconds(now), None
        shadow = self.unmailed = self.unmailed or Person(self.stack, self.kind)
        return shadow._reserve("", now, decoy=True, long=self.codes_are_long(now))

    def _reserve(
        self, address: str, now: int, *, decoy: bool, long: bool = False
    ) -> tuple[Step, int, Code | None]:
        if self.may_send(now):
            long = long or self.codes_are_long(now)
            digits, attempts = (LONG_DIGITS, 1) if long else (6, 3)
            self.sends.append(now)
            self.last = Code(now, address, digits, attempts, decoy, mailed_at=now)
            return "new", 30, self.last
        code, wait = self.last, self.retry_after_seconds(now)
        if not code or not self._may_join(code, address, now):
            return "throttled", wait, None
        if self.redeemed_through >= code.issued_at or not code.was_lost(now):
            return "join", wait, self._joined(code)
        if code.mails == 3:
            return "throttled", wait, None
        code.mails += 1
        code.mailed_at = now
        code.delivery = "sending"
        return "again", 30, code

    def _joined(self, code: Code) -> Code:
        return code.as_decoy() if self.redeemed_through >= code.issued_at else code

    def _may_join(self, code: Code, address: str, now: int) -> bool:
        return self.is_out(code, now) and code.address == address

    def answer(
        self, code: Code | None, text: str, address: str, call: str, now: int, *, known: bool
    ) -> bool:
        """Decide an answer. `call` names the Create call whose challenge it answers."""
        if code is None:
            return False
        right = known and not code.decoy and text == code.text and address == code.address
        live = self.is_live(code, now)
        if right and live:
            self.redeemed_through = self.sends[-1]
            self.done = (call, now)
            return True
        if live:
            self.wrong_answers.append(now)
        return right and self.done[0] == call and now - self.done[1] < 15

    def later_round(self, code: Code, address: str, now: int) -> tuple[Code, bool]:
        """Go on after a wrong answer; return the code to enter, and whether it is told as over."""
        last = self.last
        if (
            last
            and last is not code
            and last.issued_at >= code.issued_at
            and self.is_live(last, now)
            and last.address == address
            and last.delivery != "failed"
        ):
            return last, False
        return code, not self.is_out(code, now)
