"""Whole sign-ins under an adversary, compared step by step with a simple model of the rules.

Cognito is played as it behaves on AWS: Define -> Create -> Verify -> Define, every session used
once, every trigger repeated up to three times with any of the replies lost.
"""

import json
import logging
import random
import secrets
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from lambdas.email_otp import clients, observability
from lambdas.email_otp.errors import TriggerError
from lambdas.email_otp.pretence import Pretence
from tests.support import aws_stand_in
from tests.support.aws_stand_in import COUNT_MAIL, Died, Refusal
from tests.support.clock import Clock, Passing
from tests.support.ledger_model import (
    DAY,
    MAX_NEW_GUESTS_PER_HOUR,
    MAX_SENDS_PER_HOUR,
    TTL_SECONDS,
    Accident,
    Code,
    Delivery,
    Kind,
    Person,
    Stack,
)
from tests.support.triggers import (
    ADA,
    BOB,
    EVENTS_ISSUED_AT,
    NOBODY,
    Event,
    Guest,
    Lambdas,
    answered,
    aws_clients,
    wrong,
)

type Mailing = Literal[
    "taken", "refused", "taken, reply lost", "died before", "died after", "record lost"
]
type Answer = Literal["right", "from mailbox", "wrong", "someone else's", "nonsense"]

NEW = Guest(
    name="44444444-5555-4666-8777-888888888888", email="new@example.com", email_verified="false"
)
GUESTS = {"ada": ADA, "bob": BOB, "new": NEW, "nobody": NOBODY}
MAILINGS: list[Mailing] = [
    "taken",
    "taken",
    "taken",
    "refused",
    "taken, reply lost",
    "died before",
    "died after",
    "record lost",
]
ACCIDENTS: list[Accident | None] = [
    None,
    None,
    None,
    None,
    "send's answer lost",
    "count's answer lost",
    "count fails",
    "died before it",
    "died after it",
]
ANSWERS: list[Answer] = ["right", "from mailbox", "wrong", "wrong", "someone else's", "nonsense"]
names = st.sampled_from(sorted(GUESTS))
processes = st.integers(0, 1)
pauses = st.sampled_from([0, 0, 1, 3, 4, 5, 14, 15])


@dataclass(frozen=True)
class Session:
    """One of Cognito's session strings, and what Cognito remembers under it."""

    name: str
    person: Person
    code: Code | None
    created: Event
    rounds: tuple[Event, ...] = ()


class SignIns(RuleBasedStateMachine):
    """Two known users and an unknown one, and whoever plays them false."""

    sessions = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self._patch = pytest.MonkeyPatch()
        # Challenge ids that are the same on every run: else a failure could not be played again.
        dice = random.Random(1)  # noqa: S311
        self._patch.setattr(secrets, "token_hex", lambda size: dice.randbytes(size).hex())
        *_, cognito = aws_clients(short_cut=True)
        self._patch.setattr(clients, "cognito", lambda: cognito)
        # Whether a decoy's mail is said to have failed is drawn at random.
        self._patch.setattr(Pretence, "pause", lambda _: True)
        passing = Passing()
        self._patch.setattr("lambdas.email_otp.deadline.time", passing)
        self._patch.setattr("lambdas.email_otp.calls.time", passing)
        self._patch.setattr("lambdas.email_otp.deadline._process_started_at", None)
        # What is logged has tests of its own, and takes most of the time.
        self._patch.setattr(logging.getLogger(observability.logger.service), "disabled", True)
        self._patch.setattr(observability.metrics, "add_metric", lambda *_: None)
        self.aws = aws_stand_in.renew()
        self.clock = Clock(EVENTS_ISSUED_AT)
        self.guests = dict(GUESTS)
        self.stack = Stack()
        self.persons: dict[str, Person] = {}
        self.codes: list[Code] = []
        self.processes = [self._new_process(), self._new_process()]

    def teardown(self) -> None:
        """Leave nothing behind."""
        self._patch.undo()

    @property
    def now(self) -> int:
        """Return the time, in epoch seconds."""
        return int(self.clock.now)

    @rule(
        target=sessions,
        name=names,
        process=processes,
        mailing=st.sampled_from(MAILINGS),
        beside=st.lists(pauses, max_size=2),
        repeats=st.lists(pauses, max_size=2),
        accident=st.sampled_from(ACCIDENTS),
        kept=st.integers(0, 4),
    )
    def start(
        self,
        name: str,
        process: int,
        mailing: Mailing,
        beside: list[int],
        repeats: list[int],
        accident: Accident | None,
        kept: int,
    ) -> Any:
        """Begin a first round. Repeats come while the mail is under way, and after pauses."""
        lambdas = self.processes[process]
        first = lambdas.define(self.guests[name].decided([]))
        assert first["challengeName"] == "CUSTOM_CHALLENGE"
        opened = self._first_round(name, lambdas, mailing, beside, accident)
        for pause in repeats:
            self.clock.now += pause
            opened += self._first_round(name, lambdas, "taken", [])
        return opened[kept % len(opened)] if opened else multiple()

    @rule(
        target=sessions,
        session=consumes(sessions),
        process=processes,
        answer=st.sampled_from(ANSWERS),
        repeats=st.lists(pauses, max_size=2),
        kept=st.integers(0, 2),
    )
    def answer(
        self, session: Session, process: int, answer: Answer, repeats: list[int], kept: int
    ) -> Any:
        """Answer a session, which ends it; Verify may be repeated, replies lost."""
        return self._answer(session, process, self._text(session, answer), repeats, kept)

    @rule(name=names, process=processes, wait=st.sampled_from([0, 30, 600]))
    def sign_in_as_a_guest_would(self, name: str, process: int, wait: int) -> None:
        """Enter the last mailed code, which lets the guest in if the model says that it is live."""
        self.clock.now += wait
        for session in self._first_round(name, self.processes[process], "taken", []):
            self._answer(session, process, self._text(session, "from mailbox"), [], 0)

    @rule(
        name=names,
        process=processes,
        past=st.sampled_from([-2, -1, 0, 1, 14]),
        repeats=st.lists(pauses, max_size=2),
    )
    def answer_at_the_end(self, name: str, process: int, past: int, repeats: list[int]) -> None:
        """T06 and T32: the right answer around the code's last second."""
        for session in self._first_round(name, self.processes[process], "taken", []):
            if session.code:
                self.clock.now = session.code.expires_at + past
            self._answer(session, process, self._text(session, "right"), repeats, 0)

    @rule(name=names, processes=st.tuples(processes, processes), answer=st.sampled_from(ANSWERS))
    def answer_twice(self, name: str, processes: tuple[int, int], answer: Answer) -> None:
        """T04: two sessions that share a code, if the second one joins the first."""
        opened = [
            session
            for process in processes
            for session in self._first_round(name, self.processes[process], "taken", [])
        ]
        for session in reversed(opened):
            self._answer(session, processes[0], self._text(session, answer), [], 0)

    @rule(
        name=names,
        process=processes,
        mailings=st.lists(st.sampled_from(MAILINGS), min_size=2, max_size=5),
        gap=st.sampled_from([3, 4, 5]),
    )
    def repeat_after_failures(
        self, name: str, process: int, mailings: list[Mailing], gap: int
    ) -> None:
        """T33: mails fail, or Create dies, again and again."""
        for mailing in mailings:
            self._first_round(name, self.processes[process], mailing, [])
            self.clock.now += gap

    @rule(name=st.sampled_from(["ada", "bob"]), process=processes, there_and_back=st.booleans())
    def move_during_a_login(self, name: str, process: int, there_and_back: bool) -> None:
        """T31: the address changes between the mail and the answer."""
        opened = self._first_round(name, self.processes[process], "taken", [])
        guest = self.guests[name]
        domain = "net" if str(guest.email).endswith("com") else "com"
        self.change_address(name, domain)
        if there_and_back:
            self.guests[name] = guest
        for session in opened:
            self._answer(session, process, self._text(session, "right"), [], 0)

    @rule(name=names, process=processes, guesses=st.integers(1, 4))
    def guess_after_a_sign_in(self, name: str, process: int, guesses: int) -> None:
        """T03: answers to a code already redeemed decide, and so count, nothing."""
        lambdas = self.processes[process]
        opened = [
            session
            for _ in range(guesses + 1)
            for session in self._first_round(name, lambdas, "taken", [])
        ]
        for number, session in enumerate(opened):
            left = self._answer(
                session, process, self._text(session, "wrong" if number else "right"), [], 0
            )
            while isinstance(left, Session):
                left = self._answer(left, process, self._text(left, "wrong"), [], 0)
        self.clock.now += 600
        self._first_round(name, lambdas, "taken", [])

    @rule(name=names, process=processes, newer_first=st.booleans(), gap=st.sampled_from([30, 269]))
    def answer_two_codes(self, name: str, process: int, newer_first: bool, gap: int) -> None:
        """T07: an older and a newer code, both answered right."""
        opened = self._first_round(name, self.processes[process], "taken", [])
        self.clock.now += gap
        opened += self._first_round(name, self.processes[process], "taken", [])
        for session in reversed(opened) if newer_first else opened:
            self._answer(session, process, self._text(session, "right"), [], 0)

    @rule(name=names, process=processes, sessions=st.integers(1, 4), wait=st.sampled_from([0, 30]))
    def guess_before_the_right_answer(
        self, name: str, process: int, sessions: int, wait: int
    ) -> None:
        """T01 and T02: guesses in sessions that share or follow a code still out."""
        opened = self._first_round(name, self.processes[process], "taken", [])
        self.clock.now += wait
        self.guess(name, process, sessions)
        for session in opened:
            self._answer(session, process, self._text(session, "right"), [], 0)

    @rule(name=names, process=processes, sessions=st.integers(1, 3))
    def guess(self, name: str, process: int, sessions: int) -> None:
        """T02: session after session, each answered wrong until it ends."""
        for _ in range(sessions):
            opened = self._first_round(name, self.processes[process], "taken", [])
            while opened:
                left = self._answer(opened[0], process, self._text(opened[0], "wrong"), [], 0)
                opened = [left] if isinstance(left, Session) else []

    @rule(
        name=names,
        process=processes,
        gap=st.sampled_from([29, 31, 225, 300]),
        times=st.integers(4, 24),
    )
    def bomb(self, name: str, process: int, gap: int, times: int) -> None:
        """T10: request after request for one user's mailbox."""
        for _ in range(times):
            self._first_round(name, self.processes[process], "taken", [])
            self.clock.now += gap

    @rule(
        seconds=st.sampled_from(
            [1, 3, 4, 15, 29, 30, 31, 239, 270, 299, 300, 570, 600, 870, 900, 3600, DAY]
        )
    )
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.clock.now += seconds

    @rule(days=st.sampled_from([5, 19, 20, 21]))
    def wait_for_days(self, days: int) -> None:
        """Let time pass, and DynamoDB removes what has lapsed."""
        self.clock.now += days * DAY
        for key, item in list(self.aws.items.items()):
            if int(item["expires_at"]["N"]) <= self.now:
                del self.aws.items[key]

    @rule(name=st.sampled_from(["ada", "bob"]), domain=st.sampled_from(["com", "net"]))
    def change_address(self, name: str, domain: str) -> None:
        """T31."""
        self.guests[name] = replace(self.guests[name], email=f"{name}@example.{domain}")

    @rule(process=processes)
    def rotate_key(self, process: int) -> None:
        """T34: one process starts anew under the new key, the other goes on under the old one."""
        self.aws.rotate_key()
        self.processes[process] = self._new_process()

    @invariant()
    def ledger_holds_no_address_and_no_code(self) -> None:
        """T22's share of the ledger."""
        codes = {code.text for code in self.codes}
        for item in self.aws.items.values():
            for attribute in item.values():
                for value in attribute.values():
                    assert "@" not in value
                    assert value not in codes

    def _new_process(self) -> Lambdas:
        process = Lambdas(
            self.clock,
            short_cut=True,
            max_sends_per_hour=MAX_SENDS_PER_HOUR,
            max_new_guests_per_hour=MAX_NEW_GUESTS_PER_HOUR,
        )
        # Reads the key now, so that the model knows the version it issues under.
        process.issuer._keys.current()
        return process

    def _person(self, name: str, lambdas: Lambdas) -> Person:
        """Return what is remembered; each key version hides an unknown name in its own way."""
        version = lambdas.issuer._keys.current().version
        guest = GUESTS[name]
        key = name if guest.email else f"{name} {version}"
        kind: Kind = "returning" if guest.email_verified == "true" else "newcomer"
        return self.persons.setdefault(key, Person(self.stack, kind if guest.email else "unknown"))

    def _first_round(  # noqa: C901 - one round, with all that may go wrong in it
        self,
        name: str,
        lambdas: Lambdas,
        mailing: Mailing,
        beside: list[int],
        accident: Accident | None = None,
    ) -> list[Session]:
        """Call Create as the model expects it to answer."""
        guest, person = self.guests[name], self._person(name, lambdas)
        address = guest.email or guest.name
        before = person.last
        if accident == "send's answer lost" and not person.may_send(self.now):
            accident = None
        # Each key version hides a mailbox in its own way, as it does an unknown name.
        mailbox = f"{address} {lambdas.issuer._keys.current().version}"
        step, wait, code = person.first_round(address, mailbox, self.now, accident)
        busy = person.busy
        if person.last and person.last is not before:
            self.codes.append(person.last)
        begun = code.mail if code else None
        mails_before = len(self.aws.mails)
        opened: list[Session] = []
        will_mail = step in ("new", "again")

        def under_way() -> None:
            self.aws.faults.pop("SendEmail")
            nonlocal mails_before
            for pause in beside:
                self.clock.now += pause
                opened.extend(self._first_round(name, lambdas, "taken", []))
            mails_before = len(self.aws.mails)
            if mailing == "died before":
                raise Died
            if mailing == "refused":
                raise Refusal("MessageRejected")
            self.aws.after["SendEmail"] = taken

        def taken() -> None:
            self.aws.after.pop("SendEmail")
            if mailing == "died after":
                raise Died
            if mailing == "taken, reply lost":
                raise ReadTimeoutError(endpoint_url="ada@example.com")  # so it was perhaps sent
            if mailing == "record lost":
                self.aws.faults["UpdateItem"] = not_recorded

        def not_recorded() -> None:
            self.aws.faults.pop("UpdateItem")
            raise Refusal("AccessDeniedException")

        if will_mail:
            self.aws.faults["SendEmail"] = under_way
        if accident:
            self._prepare(accident)
        created: Event | None = None
        failure: BaseException | None = None
        try:
            created = lambdas.create(guest.first_round())
        except (TriggerError, Died) as raised:
            failure = raised
        for faults in (self.aws.faults, self.aws.after):
            faults.pop(COUNT_MAIL, None)

        new_mails = self.aws.mails[mails_before:]
        if not will_mail:
            assert new_mails == []
            if step == "died":
                assert isinstance(failure, Died)
                return opened
            if step == "failed":
                assert str(failure) == "AUTH_SERVICE_ERROR"
                return opened
            if code and step == "pretend":
                self._record(code, begun, "sent")
        elif code:
            assert "SendEmail" not in self.aws.faults
            assert len(new_mails) == (mailing not in ("refused", "died before"))
            for mail in new_mails:
                assert mail.to == guest.email
                assert len(mail.code) == code.digits
                if step == "new":
                    assert before is None or mail.code != before.text
                assert code.text in (None, mail.code)
                code.text = mail.code
            if mailing == "refused":
                self._record(code, begun, "failed")
                assert str(failure) == "ERR_EMAIL_DELIVERY_FAILED"
                return opened
            if mailing.startswith("died"):
                assert isinstance(failure, Died)
                return opened
            if mailing not in ("record lost", "taken, reply lost"):
                self._record(code, begun, "sent")
        assert failure is None
        assert created is not None
        assert created["publicChallengeParameters"]["busy"] == str(busy).lower()
        self._check_public(created, code, wait)
        return [*opened, Session(name, person, code, created)]

    def _record(self, code: Code, mail: object, delivery: Delivery) -> None:
        """Note a mail's fate, which comes too late if another mail has been begun since."""
        if code.mail is mail:
            code.delivery = delivery

    def _check_public(
        self,
        created: Event,
        code: Code | None,
        wait: int,
        rounds: int = 0,
        *,
        is_over: bool = False,
    ) -> None:
        public = created["publicChallengeParameters"]
        if code is None:
            told = {"status": "throttled", "attempts_left": "0", "expires_at": "0"}
        else:
            told = {
                "status": "expired" if is_over else "sent",
                "attempts_left": str(max(1, code.attempts - rounds)),
                "expires_at": "0" if is_over else str(code.shown_at + TTL_SECONDS),
                "code_length": str(code.digits),
            }
        assert public | told | {"retry_after_seconds": str(wait)} == public

    def _text(self, session: Session, answer: Answer) -> str:
        right = session.code and session.code.text
        match answer:
            case "right":
                return right or "000000"
            case "wrong":
                return wrong(right or "000000")
            case "someone else's":
                others = [code.text for code in self.codes if code is not session.code]
                return next((text for text in reversed(others) if text), "000000")
            case "from mailbox":
                address = self.guests[session.name].email
                return next(
                    (mail.code for mail in reversed(self.aws.mails) if mail.to == address), "000000"
                )
            case "nonsense":
                return "my code, please"

    def _answer(
        self, session: Session, process: int, text: str, repeats: list[int], kept: int
    ) -> Any:
        """Call Verify and Define as the model expects them to answer; maybe a next session."""
        guest, lambdas = self.guests[session.name], self.processes[process]
        event = guest.answer(session.created, text)
        decided = []
        for pause in [0, *repeats]:
            self.clock.now += pause
            expected = session.person.answer(
                session.code,
                text,
                guest.email or guest.name,
                session.created["challengeMetadata"],
                self.now,
                known=guest.email is not None,
            )
            correct = lambdas.verify(event)
            assert correct is expected
            decided.append(correct)
        correct = decided[kept % len(decided)]
        rounds = (*session.rounds, answered(session.created, correct=correct))
        step = lambdas.define(guest.decided(list(rounds)))
        assert step["issueTokens"] is correct
        if correct:
            self._check_tokens(session, guest)
            return multiple()
        code = session.code
        goes_on = code is not None and len(rounds) < code.attempts
        assert step["failAuthentication"] is not goes_on
        if not goes_on or code is None:
            return multiple()
        created = lambdas.create(guest.later_round(session.created, rounds=len(rounds)))
        code, shown, is_over = session.person.later_round(code, guest.email or guest.name, self.now)
        wait = session.person.wait_seconds(self.now)
        self._check_public(created, shown, wait, len(rounds), is_over=is_over)
        return replace(session, code=code, created=created, rounds=rounds)

    def _check_tokens(self, session: Session, guest: Guest) -> None:
        assert guest.email is not None
        assert session.code is not None
        session.code.sign_ins += 1
        assert session.code.sign_ins == 1
        assert session.code.address == guest.email
        assert json.loads(session.created["challengeMetadata"])["digits"] == session.code.digits

    def _prepare(self, accident: Accident) -> None:
        """Make one of the next mail's two writes go wrong, once."""
        operation = "UpdateItem" if accident == "send's answer lost" else COUNT_MAIL
        faults = (
            self.aws.faults if accident in ("count fails", "died before it") else self.aws.after
        )

        def fault() -> None:
            del faults[operation]
            if accident.startswith("died"):
                raise Died
            if accident == "count fails":
                raise Refusal("AccessDeniedException")
            raise ConnectionClosedError(endpoint_url="ada@example.com")

        faults[operation] = fault


SignIns.TestCase.settings = settings(max_examples=120, stateful_step_count=40)
test_sign_ins_keep_every_rule = SignIns.TestCase
