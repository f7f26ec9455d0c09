"""T39 and T41: what a stranger sees of a user who exists and of one who does not.

One random script of requests, wrong answers, pauses, used-up hours and troubles of SES is played
for both. In between, the user who exists may sign in, which the stranger does not see.
"""

import logging
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from lambdas.email_otp import clients, observability
from lambdas.email_otp.challenge import Challenge
from lambdas.email_otp.errors import TriggerError
from tests.support import aws_stand_in
from tests.support.aws_stand_in import refuse
from tests.support.clock import Clock
from tests.support.triggers import (
    ADA,
    NEWCOMER,
    NOBODY,
    POOL,
    Event,
    Guest,
    Lambdas,
    answered,
    aws_clients,
)

SCRIPTS, STEPS = 400, 30
AN_HOURS_BEGIN = 1_800_000_000
PAUSES = [1, 3, 4, 5, 10, 29, 30, 31, 60, 200, 299, 301, 600, 601, 900, 1800, 3600]
FATES = ["sent", "failed", "unconfirmed"]
KINDS = ["ask", "ask", "answer", "answer", "pause", "use up", "ses", "sign in"]

type Step = tuple[str, Any]


def no_answer() -> None:
    raise ReadTimeoutError(endpoint_url="https://email.us-east-1.amazonaws.com")


@dataclass
class Begun:
    """A sign-in that the stranger has begun."""

    created: Event
    rounds: list[Event] = field(default_factory=list)
    is_over: bool = False


class Stranger:
    """Plays a script for one user; `views` is what is seen of each step."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.aws = aws_stand_in.renew()
        self.clock = Clock(AN_HOURS_BEGIN)
        self.lambdas = Lambdas(self.clock, short_cut=True)
        self.fate = "sent"
        self.begun: list[Begun] = []
        self.views: list[Any] = []

    def play(self, script: list[Step]) -> list[Any]:
        """Play it to its end."""
        for kind, what in script:
            match kind:
                case "pause":
                    self.clock.now += what
                case "use up":
                    self._use_up()
                case "ses":
                    self.fate = what
                case "ask":
                    self._ask()
                case "answer":
                    self._answer(what)
                case "sign in":
                    self._sign_in(what)
        return self.views

    def _use_up(self) -> None:
        key = f"stack#{POOL}#{int(self.clock.now) // 3600}"
        item = self.aws.items.setdefault(key, {"sub": {"S": key}, "expires_at": {"N": "0"}})
        item |= {"sends": {"N": "1000"}, "newcomer_sends": {"N": "200"}}

    def _ask(self) -> None:
        # As if this process's last mails had all gone as the user's own would.
        self.lambdas.issuer._pretence._mails = deque([(0.0, self.fate)])  # type: ignore[list-item]
        fault = {"failed": refuse("MessageRejected"), "unconfirmed": no_answer}.get(self.fate)
        self.aws.faults = {"SendEmail": fault} if fault else {}
        try:
            created = self.lambdas.create(self.guest.first_round())
        except TriggerError as error:
            self.views.append(str(error))
            return
        self.begun.append(Begun(created))
        self.views.append(created["publicChallengeParameters"])

    def _answer(self, which: int) -> None:
        begun = self._of(which)
        if begun is None:
            return
        assert self.lambdas.verify(self.guest.answer(begun.created, "x")) is False
        begun.rounds.append(answered(begun.created))
        if self.lambdas.define(self.guest.decided(begun.rounds))["failAuthentication"]:
            begun.is_over = True
            self.views.append("over")
            return
        later = self.guest.later_round(begun.created)
        later["request"]["session"] = begun.rounds
        begun.created = self.lambdas.create(later)
        self.views.append(begun.created["publicChallengeParameters"])

    def _sign_in(self, which: int) -> None:
        """Sign the user in in a session of their own, with the code of a mail they were sent."""
        begun = self._of(which)
        challenge = begun and Challenge.from_metadata(begun.created["challengeMetadata"])
        if not begun or not challenge or challenge.is_decoy or self.guest.email is None:
            return
        key = self.lambdas.verify_keys.version(challenge.key_version)
        code = challenge.code(key, self.guest.name)
        self.lambdas.verify(self.guest.answer(begun.created, code))

    def _of(self, which: int) -> Begun | None:
        begun = self.begun[which % len(self.begun)] if self.begun else None
        return None if begun is None or begun.is_over else begun


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log and count nothing: that has tests of its own, and takes most of the time."""
    monkeypatch.setattr(logging.getLogger(observability.logger.service), "disabled", True)
    monkeypatch.setattr(observability.metrics, "add_metric", lambda *_: None)
    *_, cognito = aws_clients(short_cut=True)
    monkeypatch.setattr(clients, "cognito", lambda: cognito)


@pytest.mark.parametrize("known", [ADA, NEWCOMER], ids=["returning", "newcomer"])
def test_stranger_sees_the_same_of_whoever_exists_and_of_nobody(known: Guest) -> None:
    dice = random.Random(f"views of {known.email_verified}")  # noqa: S311
    for _ in range(SCRIPTS):
        script: list[Step] = []
        for _ in range(dice.randrange(2, STEPS)):
            kind = dice.choice(KINDS)
            what = {"pause": PAUSES, "ses": FATES}.get(kind, range(6))
            script.append((kind, dice.choice(what)))  # type: ignore[arg-type]
        assert Stranger(known).play(script) == Stranger(NOBODY).play(script), script


@pytest.mark.parametrize(
    "script",
    [
        # Each was seen to tell the two apart.
        [("ask", 0), ("use up", 0), ("pause", 31), ("ask", 0)],
        [("use up", 0), ("ask", 0), ("pause", 31), ("ask", 0), ("answer", 0)],
        [("pause", 3590), ("use up", 0), ("ask", 0), ("pause", 15), ("ask", 0)],
        [("use up", 0), *[("ask", 0)] * 4, *[("answer", i) for i in range(4)] * 3, ("ask", 0)],
        [("ses", "failed"), ("ask", 0), ("use up", 0), ("pause", 5), ("ask", 0)],
        [("ask", 0), ("pause", 31), ("ask", 0), ("sign in", 1), ("answer", 0)],
        [*[("ask", 0)] * 5, ("sign in", 0), *[("answer", i) for i in range(1, 5)] * 3, ("ask", 0)],
        [("ses", "unconfirmed"), ("ask", 0), ("pause", 5), ("ask", 0)],
        [("ask", 0), ("pause", 31), ("ses", "failed"), ("ask", 0), ("sign in", 0), ("ask", 0)],
    ],
)
@pytest.mark.parametrize("known", [ADA, NEWCOMER], ids=["returning", "newcomer"])
def test_scripts_that_told_users_apart_no_longer_do(known: Guest, script: list[Step]) -> None:
    assert Stranger(known).play(script) == Stranger(NOBODY).play(script)
