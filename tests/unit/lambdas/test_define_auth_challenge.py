"""Define: tokens only after a right answer to our own challenge."""

from typing import Any

import pytest

from tests.support.aws_stand_in import StandIn
from tests.support.triggers import (
    ADA,
    NOBODY,
    UNREADABLE_METADATA,
    Event,
    Lambdas,
    answered,
    saved_event,
)

CHALLENGE = {"challengeName": "CUSTOM_CHALLENGE", "issueTokens": False, "failAuthentication": False}
TOKENS = {"challengeName": None, "issueTokens": True, "failAuthentication": False}
FAIL = {"challengeName": None, "issueTokens": False, "failAuthentication": True}


@pytest.mark.parametrize(
    ("event", "response"),
    [
        ("define_first_round", CHALLENGE),
        ("define_after_wrong_answer", CHALLENGE),
        ("define_after_right_answer", TOKENS),
        ("define_too_many_wrong_answers", FAIL),
        ("define_nothing_was_sent", FAIL),
        ("define_user_not_found", CHALLENGE),
    ],
)
def test_chooses_the_next_step(lambdas: Lambdas, event: str, response: Event) -> None:
    assert lambdas.define(saved_event(event)) == response


def test_fails_a_flow_that_began_with_a_password(lambdas: Lambdas) -> None:
    """T16: a flow that starts with SRP_A."""
    assert lambdas.define(saved_event("define_srp_first")) == FAIL


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("name", ["PASSWORD_VERIFIER", "custom_challenge", "", None])
def test_fails_a_flow_with_a_foreign_challenge_among_the_rounds(
    lambdas: Lambdas, name: str | None, position: int
) -> None:
    """T16: a foreign challenge anywhere, though the last answer was right."""
    event = saved_event("define_after_right_answer")
    rounds = event["request"]["session"]
    rounds.insert(position, rounds[0] | {"challengeName": name, "challengeResult": True})
    assert lambdas.define(event) == FAIL


def test_issues_nothing_to_an_unknown_user_whose_answer_was_called_right(lambdas: Lambdas) -> None:
    """T15."""
    event = saved_event("define_after_right_answer")
    event["request"]["userNotFound"] = True
    assert lambdas.define(event)["issueTokens"] is False


@pytest.mark.parametrize("result", ["true", "false", 1, [True], {"x": 1}, None])
def test_takes_only_true_for_a_right_answer(lambdas: Lambdas, result: Any) -> None:
    """T17: a challenge result of the wrong type."""
    event = saved_event("define_after_right_answer")
    event["request"]["session"][-1]["challengeResult"] = result
    assert lambdas.define(event)["issueTokens"] is False


def test_issues_nothing_for_a_right_answer_before_a_wrong_one(lambdas: Lambdas) -> None:
    event = saved_event("define_after_right_answer")
    event["request"]["session"].reverse()
    assert lambdas.define(event)["issueTokens"] is False


def test_goes_on_past_three_rounds_only_to_fail(lambdas: Lambdas) -> None:
    """Cognito itself stops after a number of rounds; we do not count on it."""
    event = saved_event("define_too_many_wrong_answers")
    event["request"]["session"] *= 3
    assert lambdas.define(event) == FAIL


def test_allows_as_many_answers_as_the_challenge_says(lambdas: Lambdas, aws: StandIn) -> None:
    created = lambdas.create(ADA.first_round())
    rounds = [answered(created)]
    assert lambdas.define(ADA.decided(rounds)) == CHALLENGE
    assert lambdas.define(ADA.decided(rounds * 2)) == CHALLENGE
    assert lambdas.define(ADA.decided(rounds * 3)) == FAIL
    aws.calls.clear()


def test_answers_a_repeat_the_same_and_calls_nothing(lambdas: Lambdas, aws: StandIn) -> None:
    """T09: Define does no I/O, so its repeats are harmless."""
    for event in (saved_event("define_after_right_answer"), NOBODY.decided([])):
        assert lambdas.define(event) == lambdas.define(event)
    assert aws.calls == []


@pytest.mark.parametrize("metadata", UNREADABLE_METADATA)
def test_fails_a_sign_in_whose_challenge_cannot_be_read(lambdas: Lambdas, metadata: Any) -> None:
    """T17: written by another version of the triggers, say; the guest asks for a new code."""
    event = saved_event("define_after_wrong_answer")
    event["request"]["session"][0]["challengeMetadata"] = metadata
    assert lambdas.define(event) == FAIL
    del event["request"]["session"][0]["challengeMetadata"]
    assert lambdas.define(event) == FAIL
