"""T46: what the triggers' log lines alone tell of an attack on one guest."""

import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest

from infra.local.ministack import ROOT
from lambdas.email_otp.observability import logger
from tests.support.aws_stand_in import StandIn
from tests.support.clock import Clock
from tests.support.triggers import ADA, BOB, NEWCOMER, NOBODY, Event, Guest, Lambdas, answered

README = (ROOT / "README.md").read_text()
QUERIES = re.findall(r"(?s)```\n(fields @timestamp.*?|filter .*?)```", README)


@dataclass(frozen=True)
class Step:
    """One line of the story: seconds since its beginning, and what happened."""

    at: int
    what: str


@pytest.fixture
def log(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """Return a function that reads the lines logged so far, by the triggers' clock."""
    now = SimpleNamespace(**vars(time) | {"time_ns": lambda: int(clock.now * 1e9)})
    monkeypatch.setattr(logging, "time", now)
    stream = StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def story_of(sub: str, lines: list[dict[str, Any]]) -> list[Step]:
    """Tell what happened to one user, as whoever reads the logs would."""
    told: list[tuple[float, str]] = []
    for line in lines:
        if line.get("sub") != sub:
            continue
        match line["message"]:
            case "challenge created" if line["mail"] in ("sent", "unconfirmed"):
                what = f"mailed a code of {line['code_length']} digits, {line['message_id']}"
            case "challenge created" if line["wrong_answers"] == 0:
                what = f"asked, not mailed: {line['mail']}"
            case "answer decided":
                what = f"answer {line['decision']}"
            case "sign-in step chosen" if line["step"] == "issue_tokens":
                what = "signed in"
            case "trigger failed":
                what = f"failed: {line['error_type']}"
            case _:
                continue
        told.append((datetime.fromisoformat(line["timestamp"]).timestamp(), what))
    return [Step(int(at - told[0][0]), what) for at, what in told]


def sign_in(lambdas: Lambdas, aws: StandIn, guest: Guest) -> None:
    """Sign a guest in with the code mailed last."""
    created = lambdas.create(guest.first_round())
    assert lambdas.verify(guest.answer(created, aws.mails[-1].code))
    lambdas.define(guest.decided([answered(created, correct=True)]))


def guess(lambdas: Lambdas, created: Event, times: int) -> None:
    """Answer wrong, some times in one session."""
    rounds: list[Event] = []
    for _ in range(times):
        lambdas.verify(ADA.answer(created, "000000"))
        rounds.append(answered(created))
        lambdas.define(ADA.decided(rounds))
        created = lambdas.create(ADA.later_round(created, rounds=len(rounds)))


def test_t46_logs_alone_tell_when_how_often_and_what_was_sent(
    lambdas: Lambdas, aws: StandIn, clock: Clock, log: Callable[[], list[dict[str, Any]]]
) -> None:
    """Ada is attacked while Bob signs in and made-up names are asked for."""
    begun = lambdas.create(ADA.first_round())  # by the attacker
    clock.now += 5
    guess(lambdas, begun, 3)
    sign_in(lambdas, aws, BOB)
    lambdas.create(NOBODY.first_round())
    clock.now += 10
    joined = lambdas.create(ADA.first_round())
    guess(lambdas, joined, 3)
    lambdas.create(NEWCOMER.first_round() | {"userName": "another"})
    clock.now += 30
    guess(lambdas, lambdas.create(ADA.first_round()), 5)
    clock.now += 60
    sign_in(lambdas, aws, ADA)  # Ada herself, with the long code
    story = story_of(ADA.name, log())
    assert story == [
        Step(0, "mailed a code of 6 digits, example"),
        *[Step(5, "answer wrong")] * 3,
        Step(15, "asked, not mailed: joined"),
        *[Step(15, "answer wrong")] * 3,
        Step(15, "asked, not mailed: joined"),
        Step(45, "mailed a code of 6 digits, example"),
        *[Step(45, "answer wrong")] * 4,
        Step(45, "answer refused"),
        Step(105, "mailed a code of 16 digits, example"),
        Step(105, "answer redeemed"),
        Step(105, "signed in"),
    ]


def test_t46_queries_of_the_readme_name_what_lines_have(
    lambdas: Lambdas, aws: StandIn, log: Callable[[], list[dict[str, Any]]]
) -> None:
    """CloudWatch cannot be asked here: but a key that no line has finds nothing there."""
    sign_in(lambdas, aws, ADA)
    lambdas.define(ADA.decided([]))
    keys = {key for line in log() for key in line}
    assert len(QUERIES) == 3
    for query in QUERIES:
        without_texts = re.sub(r'"[^"]*"|/[^/\n]*/', "", query)
        named = set(re.findall(r"(?<![@\w])[a-z_]+(?![\w(])", without_texts))
        words = {"fields", "filter", "stats", "by", "sort", "as", "and", "or", "not", "in", "desc"}
        words |= {"asc", "limit", "count", "bin", "wrong", "requests", "m", "h", "like"}
        assert named - words <= keys, query
