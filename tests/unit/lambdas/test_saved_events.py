"""The events in tests/events, as a person tries them in the Lambda console."""

import pytest

from infra.console_events import TRIGGERS
from tests.support.aws_stand_in import StandIn
from tests.support.clock import Clock
from tests.support.triggers import (
    EVENTS,
    SIMULATOR,
    Lambdas,
    assert_well_formed_challenge,
    assert_well_formed_definition,
    saved_event,
)

NAMES = sorted(path.stem for path in EVENTS.glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_saved_event_gets_a_well_formed_response(lambdas: Lambdas, clock: Clock, name: str) -> None:
    clock.now += 60
    event = saved_event(name)
    assert event["triggerSource"].endswith("_Authentication")
    match name.partition("_")[0]:
        case "define":
            assert_well_formed_definition(lambdas.define(event))
        case "create":
            assert_well_formed_challenge(lambdas.create(event))
        case "verify":
            assert lambdas.verify(event) is (name == "verify_right_answer")
        case _:
            pytest.fail(f"{name} names no trigger")


def test_every_event_belongs_to_a_trigger_of_the_stack() -> None:
    assert {name.partition("_")[0] for name in NAMES} == TRIGGERS.keys()


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("create")])
def test_saved_events_mail_nobody_but_the_simulator(
    lambdas: Lambdas, aws: StandIn, name: str
) -> None:
    event = saved_event(name)
    assert event["request"]["userAttributes"].get("email", SIMULATOR) == SIMULATOR
    lambdas.create(event)
    assert {mail.to for mail in aws.mails} <= {SIMULATOR}
    first_round_of_a_user = not event["request"]["session"] and "not_found" not in name
    assert bool(aws.mails) is first_round_of_a_user


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("verify")])
def test_saved_answers_are_refused_once_their_code_expired(
    lambdas: Lambdas, clock: Clock, name: str
) -> None:
    clock.now += 365 * 24 * 3600
    assert lambdas.verify(saved_event(name)) is False
