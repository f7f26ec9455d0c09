"""An attacker's year, played against the triggers and compared with docs/security.md.

What is counted is the answers that the triggers decide, right or wrong; the chances follow from
that. These attackers may do more than Cognito lets them: they answer one session any number of
times, but where a test is about sessions.
"""

import random
import secrets
from collections.abc import Callable
from fractions import Fraction

import pytest

from lambdas.email_otp import answering
from lambdas.email_otp.challenge import LONG_CODE_DIGITS
from tests.support.aws_stand_in import StandIn
from tests.support.clock import Clock
from tests.support.security_page import rows, security_page
from tests.support.triggers import Event, Guest, Lambdas, answered

VICTIM = Guest(email_verified="true")
AT_MOST = Fraction(2, 10_000)
DAY = 24 * 3600
WINDOW = 20 * DAY
TRIES_A_WINDOW = 10
SIGN_INS_A_SECOND = 120
ANSWERS_A_SECOND = 3 * SIGN_INS_A_SECOND
"""Cognito's quotas for a whole account: calls that begin a sign-in, and that answer one."""
MAILS_AN_HOUR = 1000
"""To returning guests, by default."""


def windows(days: int) -> int:
    """Return how often ten tries fit: a try and the tenth after it are a window apart."""
    return days * DAY // WINDOW + 1


def short_tries(days: int) -> int:
    return TRIES_A_WINDOW * windows(days)


def long_tries(days: int, *, a_second: int = SIGN_INS_A_SECOND) -> int:
    return a_second * DAY * days


def chance(short: int, long: int = 0, *, code_length: int = 6) -> Fraction:
    """Return a bound: no try is likelier to be right than one in as many as there are codes."""
    return Fraction(short, 10**code_length) + Fraction(long, 10**LONG_CODE_DIGITS)


def row(short: int, long: int = 0, *, code_length: int = 6) -> list[str]:
    """Write tries and chance as the page's table has them."""
    in_10_000 = float(10_000 * chance(short, long, code_length=code_length))
    return [f"{short:,}", f"{long:,}", f"{in_10_000:.4g}"]


CHANCES = {
    "short": row(short_tries(365)),
    "leap": row(short_tries(366), long_tries(366)),
    "slots": row(1 + 365 * DAY // (WINDOW // TRIES_A_WINDOW)),
    "sessions": row(short_tries(365)),
    "live": row(short_tries(365)),
    "guest": row(short_tries(365)),
    "attempts": row(short_tries(365)),
    "long": row(TRIES_A_WINDOW, long_tries(365)),
    "mix": row(short_tries(365), long_tries(365)),
    "answers": row(short_tries(365), long_tries(365, a_second=ANSWERS_A_SECOND)),
} | {
    f"length-{length}": row(short_tries(365), long_tries(365), code_length=length)
    for length in range(7, 11)
}
"""The rows of the page's table, by their names."""


class Attack:
    """One who knows a guest's address and no code, and every private parameter but the code.

    Attributes:
        short, long: The tries that were decided so far.
    """

    def __init__(
        self, aws: StandIn, clock: Clock, monkeypatch: pytest.MonkeyPatch, **settings: int
    ) -> None:
        self.clock = clock
        self.began_at = int(clock.now)
        self.short = self.long = 0
        self.lambdas = Lambdas(clock, short_cut=True, **settings)
        self._aws = aws
        self._metrics: list[str] = []
        monkeypatch.setattr(answering, "count", self._metrics.append)

    @property
    def seconds(self) -> int:
        """Return for how long the attack has gone on."""
        return int(self.clock.now) - self.began_at

    def wait(self, seconds: float) -> None:
        """Let time pass. DynamoDB removes what has lapsed at once, which takes it days at most."""
        self.clock.now += seconds
        for key, item in list(self._aws.items.items()):
            if int(item["expires_at"]["N"]) <= self.clock.now:
                del self._aws.items[key]

    def ask(self, guest: Guest = VICTIM) -> Event:
        """Begin a sign-in."""
        return self.lambdas.create(guest.first_round())

    def code(self, guest: Guest = VICTIM) -> str:
        """Return the code that was mailed last: the guest's, not the attacker's."""
        assert self._aws.mails[-1].to == guest.email
        return self._aws.mails[-1].code

    def guess(self, created: Event, answer: str = "", guest: Guest = VICTIM) -> bool:
        """Answer, wrong by default; return whether the answer signed in."""
        self._metrics.clear()
        right = self.lambdas.verify(guest.answer(created, answer))
        if self._metrics == ["AnswerWrong"]:
            if is_short(created):
                self.short += 1
            else:
                self.long += 1
        return right

    def session(self, created: Event) -> int:
        """Answer as Cognito lets a session be answered; return how many answers that were."""
        rounds: list[Event] = []
        while True:
            self.guess(created)
            rounds.append(answered(created))
            if self.lambdas.define(VICTIM.decided(rounds))["failAuthentication"]:
                return len(rounds)
            created = self.lambdas.create(VICTIM.later_round(created, rounds=len(rounds)))


def is_short(created: Event) -> bool:
    return int(created["publicChallengeParameters"]["code_length"]) < LONG_CODE_DIGITS


def one_after_another(attack: Attack) -> None:
    """Ask twice a day, and use up what short codes there are by whole sign-ins."""
    while is_short(created := attack.ask()):
        attack.session(created)
        attack.wait(31)
    attack.wait(12 * 3600 - attack.seconds % (12 * 3600))


def many_sessions(attack: Attack) -> None:
    """Begin ten sign-ins at once, which share a code, and answer all of them."""
    for created in [attack.ask() for _ in range(10)] * 3:
        attack.guess(created)
    attack.wait(WINDOW)


def several_live_codes(attack: Attack) -> None:
    """Have five codes out at the same time, and guess at each."""
    created = []
    for _ in range(5):
        created.append(attack.ask())
        attack.wait(31)
    assert len({each["challengeMetadata"] for each in created}) == 5
    for each in created * 3:
        attack.guess(each)
    attack.wait(WINDOW)


def slot_by_slot(attack: Attack) -> None:
    """Never use up a window: one try whenever the oldest of ten has lapsed."""
    attack.guess(attack.ask())
    attack.wait(WINDOW // TRIES_A_WINDOW)


def beside_the_guest(attack: Attack) -> None:
    """Guess at the very codes with which the guest signs in."""
    for signs_in in (True, True, False):  # the tenth wrong answer kills the third code
        created = attack.ask()
        for _ in range(4):
            attack.guess(created)
        assert attack.guess(created, attack.code()) is signs_in
        attack.wait(31)
    attack.wait(WINDOW)


STRATEGIES: dict[str, Callable[[Attack], None]] = {
    "short": one_after_another,
    "sessions": many_sessions,
    "live": several_live_codes,
    "slots": slot_by_slot,
    "guest": beside_the_guest,
}


def play(attack: Attack, strategy: Callable[[Attack], None], days: int = 365) -> None:
    """Play a strategy for so many days, the last second included."""
    while attack.seconds <= days * DAY:
        strategy(attack)


@pytest.mark.parametrize("name", STRATEGIES)
def test_year_of_guesses_decides_as_many_as_the_page_says(
    name: str, aws: StandIn, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T01, T02, T03: exactly so many, by whole sessions and by any others."""
    attack = Attack(aws, clock, monkeypatch)
    play(attack, STRATEGIES[name])
    assert [f"{attack.short:,}", f"{attack.long:,}"] == CHANCES[name][:2]


@pytest.mark.parametrize("max_attempts", [1, 2, 3])
@pytest.mark.parametrize("code_length", [6, 10])
def test_settings_change_no_number_of_tries(
    code_length: int,
    max_attempts: int,
    aws: StandIn,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """T02: fewer answers to a session only make more sessions."""
    attack = Attack(aws, clock, monkeypatch, code_length=code_length, max_attempts=max_attempts)
    play(attack, one_after_another, days=60)
    assert attack.short == short_tries(60)
    assert attack.long == 0


def test_no_timing_gets_more_tries(
    aws: StandIn, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T02: a leap year of bursts and pauses, as chance has it."""
    chance_of_the_day = random.Random(12)  # noqa: S311 - the same on every run
    attack = Attack(aws, clock, monkeypatch)
    while attack.seconds <= 366 * DAY:
        created = attack.ask()
        if is_short(created):
            for _ in range(chance_of_the_day.randint(1, 12)):
                attack.guess(created)
        attack.wait(chance_of_the_day.choice([31, 3600, DAY, 2 * DAY, WINDOW]))
    assert 100 < attack.short <= short_tries(366)
    assert attack.long == 0


def test_eleventh_try_is_decided_when_the_first_is_a_window_old(
    aws: StandIn, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T02: and not a second before, whoever asks; then one more for each that lapses."""
    attack = Attack(aws, clock, monkeypatch)
    created = attack.ask()
    attack.guess(created)
    attack.wait(60)
    for _ in range(11):
        attack.guess(created)
    assert attack.short == 10
    attack.wait(WINDOW - 60 - 1)
    assert not is_short(attack.ask())
    attack.wait(1 + 31)
    created = attack.ask()
    for _ in range(3):
        attack.guess(created)
    assert attack.short == 11


def test_tries_at_long_codes_keep_codes_long(
    aws: StandIn, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T42: who grinds long codes gets no second window of short ones."""
    attack = Attack(aws, clock, monkeypatch)
    while attack.seconds <= 365 * DAY:
        created = attack.ask()
        for _ in range(10 if is_short(created) else 1):
            attack.guess(created)
        attack.wait(DAY)
    assert [f"{attack.short:,}", attack.long] == [CHANCES["long"][0], 365]


def test_long_codes_are_tried_once_a_sign_in(
    aws: StandIn, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T42: ten seconds at Cognito's own rate; nothing but that rate bounds the tries."""
    attack = Attack(aws, clock, monkeypatch)
    one_window = attack.ask()
    for _ in range(TRIES_A_WINDOW):
        attack.guess(one_window)
    attack.wait(31)
    answers = 0
    for _ in range(10):
        for _ in range(SIGN_INS_A_SECOND):
            answers += attack.session(attack.ask())
        attack.wait(1)
    assert answers == attack.long == 10 * SIGN_INS_A_SECOND
    assert attack.short == TRIES_A_WINDOW
    # A year has so many times ten seconds: the page's number.
    assert f"{attack.long * 365 * DAY // 10:,}" == CHANCES["long"][1]


def test_users_have_their_tries_apart(
    aws: StandIn, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T02: guesses at many users get none of them more than one gets."""
    attack = Attack(aws, clock, monkeypatch)
    for number in range(20):
        guest = Guest(
            name=f"11111111-2222-3333-4444-{number:012}",
            email=f"g{number}@example.com",
            email_verified="true",
        )
        created = attack.ask(guest)
        for _ in range(12):
            attack.guess(created, guest=guest)
        assert attack.short == TRIES_A_WINDOW * (number + 1)


def test_guesses_hit_as_often_as_the_sum_says(
    aws: StandIn, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T02: with codes of two digits, of which there are so few that some are hit.

    A window of ten different guesses, at each of 600 users: a tenth should be signed in.
    """
    draw = random.Random(12)  # noqa: S311 - the same on every run
    monkeypatch.setattr(secrets, "token_hex", lambda size: draw.randbytes(size).hex())
    attack = Attack(aws, clock, monkeypatch, code_length=2)
    users, hits = 600, 0
    for number in range(users):
        guest = Guest(
            name=f"11111111-2222-3333-4444-{number:012}",
            email=f"g{number}@example.com",
            email_verified="true",
        )
        created = attack.ask(guest)
        hits += any(attack.guess(created, f"{guess:02}", guest) for guess in range(20, 35))
    expected = users * chance(TRIES_A_WINDOW, code_length=2)
    assert abs(hits - expected) <= 3 * float(expected * (1 - expected / users)) ** 0.5


def test_page_says_what_is_worked_out() -> None:
    assert {name.strip("`"): numbers for name, _, *numbers in rows("One user")} == CHANCES


def test_no_chance_is_above_two_in_ten_thousand_a_year() -> None:
    worst = chance(short_tries(366), long_tries(366, a_second=ANSWERS_A_SECOND))
    assert worst <= AT_MOST
    assert all(float(numbers[-1]) <= 2 for numbers in CHANCES.values())


def test_page_says_how_many_of_many_users_are_hit() -> None:
    """A window of a user needs a mail of its own, so the mails of a year bound the users."""
    most = MAILS_AN_HOUR * 24 * 365 // windows(365)
    assert rows("Many users") == [
        [
            f"{users:,}",
            f"{users * windows(365):,}",
            f"{users * short_tries(365):,}",
            f"{float(users * chance(short_tries(365))):.3g}",
        ]
        for users in (1000, 10_000, most)
    ]


def test_page_says_how_fast_long_codes_would_have_to_be_tried() -> None:
    """For all that is left of 2 in 10,000 beside the short ones."""
    left = AT_MOST - chance(short_tries(366))
    a_second = int(left * 10**LONG_CODE_DIGITS / (366 * DAY))
    assert f"{a_second:,} tries a second" in security_page()
