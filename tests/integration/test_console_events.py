"""README's console section: the shared test events, invoked on the deployed functions."""

import json
from typing import Any

import pytest

from infra.local.ministack import ROOT
from tests.support.deployment import Deployment, code_in, other_than
from tests.support.triggers import SIMULATOR

_EVENTS = ROOT / "tests" / "events"


def _event(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((_EVENTS / f"{name}.json").read_text())
    return event


def _invoke(stack: Deployment, trigger: str, event: dict[str, Any]) -> dict[str, Any]:
    """Press Test, and return the function's answer."""
    answer = stack.client("lambda").invoke(
        FunctionName=stack.outputs[f"{trigger}FunctionName"], Payload=json.dumps(event)
    )
    result: dict[str, Any] = json.loads(answer["Payload"].read())
    return result


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("define_first_round", {"challengeName": "CUSTOM_CHALLENGE"}),
        ("define_user_not_found", {"challengeName": "CUSTOM_CHALLENGE"}),
        ("define_after_wrong_answer", {"challengeName": "CUSTOM_CHALLENGE"}),
        ("define_after_right_answer", {"issueTokens": True}),
        ("define_too_many_wrong_answers", {"failAuthentication": True}),
        ("define_srp_first", {"failAuthentication": True}),
        ("define_nothing_was_sent", {"failAuthentication": True}),
    ],
)
def test_define_event_gives_what_the_readme_says(
    stack: Deployment, name: str, expected: dict[str, Any]
) -> None:
    response = _invoke(stack, "DefineAuthChallenge", _event(name))["response"]
    assert response | expected == response
    assert bool(response["issueTokens"]) is ("issueTokens" in expected)


def test_create_event_mails_once_and_its_parameters_make_the_verify_events_work(
    stack: Deployment,
) -> None:
    event = _event("create_first_round")
    address = event["request"]["userAttributes"]["email"] = "console@example.com"
    created = _invoke(stack, "CreateAuthChallenge", event)["response"]
    again = _invoke(stack, "CreateAuthChallenge", event)["response"]

    assert created["publicChallengeParameters"]["status"] == "sent"
    (mail,) = stack.mails_to(address)
    first, second = (json.loads(each["challengeMetadata"]) for each in (created, again))
    assert first.pop("nonce") != second.pop("nonce")
    assert first == second

    verify = _event("verify_wrong_answer")
    verify["request"]["userAttributes"] = event["request"]["userAttributes"]
    verify["request"]["privateChallengeParameters"] = created["privateChallengeParameters"]
    verify["request"]["challengeAnswer"] = other_than(code_in(mail))
    wrong = _invoke(stack, "VerifyAuthChallengeResponse", verify)
    assert wrong["response"]["answerCorrect"] is False
    verify["request"]["challengeAnswer"] = code_in(mail)
    for _cognito_repeats in range(2):
        right = _invoke(stack, "VerifyAuthChallengeResponse", verify)
        assert right["response"]["answerCorrect"] is True


def test_unknown_user_gets_the_same_shape_and_the_simulator_one_mail(
    stack: Deployment,
) -> None:
    """T15 and T41: what Cognito's PreventUserExistenceErrors sends."""
    before = len(stack.mails_to(SIMULATOR))
    known = _invoke(stack, "CreateAuthChallenge", _event("create_first_round_with_locale"))
    unknown = _invoke(stack, "CreateAuthChallenge", _event("create_user_not_found"))

    [german] = stack.mails_to(SIMULATOR)[before:]
    assert german["Subject"].startswith("Ihr Anmeldecode")
    for part in ("publicChallengeParameters", "privateChallengeParameters"):
        assert known["response"][part].keys() == unknown["response"][part].keys()
    assert unknown["response"]["publicChallengeParameters"]["status"] == "sent"


def test_later_round_mails_nothing_and_says_that_the_made_up_challenge_expired(
    stack: Deployment,
) -> None:
    before = len(stack.mails_to(SIMULATOR))
    response = _invoke(stack, "CreateAuthChallenge", _event("create_later_round"))["response"]
    assert response["publicChallengeParameters"]["status"] == "expired"
    assert len(stack.mails_to(SIMULATOR)) == before


@pytest.mark.parametrize("name", sorted(path.stem for path in _EVENTS.glob("verify_*.json")))
def test_made_up_challenge_is_no_way_in(stack: Deployment, name: str) -> None:
    answer = _invoke(stack, "VerifyAuthChallengeResponse", _event(name))
    assert answer["response"]["answerCorrect"] is False


def test_event_that_makes_no_sense_ends_in_the_fixed_text(stack: Deployment) -> None:
    """T17: Cognito hands a trigger's error text to the caller."""
    event = _event("create_first_round")
    event["request"]["userAttributes"] = None
    answer = _invoke(stack, "CreateAuthChallenge", event)
    assert answer["errorMessage"] == "AUTH_SERVICE_ERROR"
