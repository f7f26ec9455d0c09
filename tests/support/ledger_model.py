"""The rules of `lambdas/email_otp/ledger.py`, told simply: one user's ledger, second by second.

Nothing here knows of DynamoDB: lists of times are counted, and the code under test is compared
with what comes out. Times are epoch seconds.
"""

from dataclasses import dataclass, field
from typing import Literal

TTL_SECONDS = 300
MAX_SENDS_PER_HOUR = 14
DAY = 24 * 3600

type Delivery = Literal["sending", "sent", "failed"]
type Step = Literal["new", "again", "join", "throttled", "died", "failed"]
type Accident = Literal[
    "send's answer lost", "count's answer lost", "count fails", "died before it", "died after it"
]
"""What befalls the two writes of a mail; `it` is the count in the stack's hour."""


@dataclass(eq=False)
class Code:
    """One mailed code, and what became of it."""

    issued_at: int
    address: str
    digits: int
    attempts: int
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


@dataclass
class Stack:
    """What all users share: the mails of each hour."""

    sends: list[int] = field(default_factory=list)

    def take(self, now: int) -> bool:
        """Take a mail from the clock's hour, if it has one left."""
        if sum(at // 3600 == now // 3600 for at in self.sends) == MAX_SENDS_PER_HOUR:
            return False
        self.sends.append(now)
        return True

    def give_back(self) -> None:
        """Give back the mail taken last."""
        self.sends.pop()


@dataclass
class Person:
    """What must be remembered of one user."""

    stack: Stack
    sends: list[int] = field(default_factory=list)
    wrong_answers: list[int] = field(default_factory=list)
    last: Code | None = None
    redeemed_through: int = 0
    done: tuple[str, int] = ("", 0)

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
        return next(wait for wait in range(1, 601) if self.may_send(now + wait))

    def codes_are_long(self, now: int) -> bool:
        """Tell whether there were 10 wrong answers within 20 days."""
        return sum(at > now - 20 * DAY for at in self.wrong_answers) >= 10

    def is_live(self, code: Code, now: int) -> bool:
        """Tell whether an answer to this code would be decided at all."""
        return (
            now < code.expires_at
            and self.redeemed_through < code.issued_at
            and (code.digits == 10 or not self.codes_are_long(now))
        )

    def first_round(
        self, address: str, now: int, accident: Accident | None = None
    ) -> tuple[Step, int]:
        """Begin a sign-in; return what it does, and its retry_after_seconds. `last` is its code."""
        if accident == "died before it":
            return "died", 0
        if accident == "count fails":
            return "failed", 0
        times = 2 if accident == "count's answer lost" else 1
        has_mail = all(self.stack.take(now) for _ in range(times))
        if accident == "died after it" and has_mail:
            return "died", 0
        if not has_mail:
            code = self.last
            joins = code and code.delivery != "failed" and self._may_join(code, address, now)
            return "join" if joins else "throttled", 3600 - now % 3600
        if self.may_send(now):
            digits, attempts = (10, 1) if self.codes_are_long(now) else (6, 3)
            self.sends.append(now)
            self.last = Code(now, address, digits, attempts, mailed_at=now)
            return "new", 30
        step = self._join(address, now)
        if step != "again":
            self.stack.give_back()
        return step, 30 if step == "again" else self.retry_after_seconds(now)

    def _join(self, address: str, now: int) -> Step:
        code = self.last
        if not code or not self._may_join(code, address, now):
            return "throttled"
        if not code.was_lost(now):
            return "join"
        if code.mails == 3:
            return "throttled"
        code.mails += 1
        code.mailed_at = now
        code.delivery = "sending"
        return "again"

    def _may_join(self, code: Code, address: str, now: int) -> bool:
        return self.is_live(code, now) and code.address == address

    def answer(
        self, code: Code | None, text: str, address: str, call: str, now: int, *, known: bool
    ) -> bool:
        """Decide an answer. `call` names the Create call whose challenge it answers."""
        if code is None:
            return False
        right = known and text == code.text and address == code.address
        live = self.is_live(code, now)
        if right and live:
            self.redeemed_through = self.sends[-1]
            self.done = (call, now)
            return True
        if live:
            self.wrong_answers.append(now)
        return right and self.done[0] == call and now - self.done[1] < 15
