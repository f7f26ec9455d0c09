"""Updating users: a right answer marks the address and picks the language; a wrong one does not."""

from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

from agent.service.requests import LOCALE
from lambdas.email_otp import clients, updating
from tests.support.aws_stand_in import StandIn, refuse
from tests.support.clock import Clock
from tests.support.triggers import NEWCOMER, SUB, Event, Guest, Lambdas, wrong

VERIFIED = Guest(locale="ja", email_verified="true")


def test_first_right_answer_marks_the_address_it_went_to(
    lambdas: Lambdas, aws: StandIn, created: Event
) -> None:
    assert lambdas.verify(NEWCOMER.answer(created, aws.mails[0].code)) is True
    assert aws.calls == ["GetSecretValue", "UpdateItem", "AdminUpdateUserAttributes"]
    [marked] = aws.verified
    assert marked == {
        "UserPoolId": "us-east-1_EXAMPLE01",
        "Username": SUB,
        "UserAttributes": [
            {"Name": "email", "Value": "ada@example.com"},
            {"Name": "email_verified", "Value": "true"},
        ],
    }


def test_failure_to_mark_the_address_fails_no_sign_in(
    lambdas: Lambdas, aws: StandIn, created: Event
) -> None:
    aws.faults["AdminUpdateUserAttributes"] = refuse("AliasExistsException")
    assert lambdas.verify(NEWCOMER.answer(created, aws.mails[0].code)) is True


def test_connection_that_died_while_the_function_was_frozen_loses_no_mark(
    lambdas: Lambdas, aws: StandIn, created: Event
) -> None:
    def died() -> None:
        del aws.faults["AdminUpdateUserAttributes"]
        raise ConnectionClosedError(endpoint_url="https://cognito-idp.us-east-1.amazonaws.com")

    aws.faults["AdminUpdateUserAttributes"] = died
    assert lambdas.verify(NEWCOMER.answer(created, aws.mails[0].code)) is True
    assert len(aws.verified) == 1


def signs_in(lambdas: Lambdas, aws: StandIn, guest: Guest, metadata: object) -> bool:
    """Let a guest answer right, with this `ClientMetadata`."""
    created = lambdas.create(guest.first_round())
    answer = guest.answer(created, aws.mails[0].code)
    answer["request"]["clientMetadata"] = metadata
    return lambdas.verify(answer)


@pytest.mark.parametrize("locale", ["de", "pt-BR", "zh-Hant-TW"])
def test_t40_who_answers_right_picks_the_language_of_their_mails(
    lambdas: Lambdas, aws: StandIn, locale: str
) -> None:
    """T40: a stranger who asked first had picked another; no call more than before."""
    assert signs_in(lambdas, aws, replace(NEWCOMER, locale="ja"), {"locale": locale}) is True
    [written] = aws.verified
    assert written["UserAttributes"] == [
        {"Name": "email", "Value": "ada@example.com"},
        {"Name": "email_verified", "Value": "true"},
        {"Name": "locale", "Value": locale},
    ]


def test_t40_language_of_a_verified_guest_is_corrected_alone(
    lambdas: Lambdas, aws: StandIn
) -> None:
    assert signs_in(lambdas, aws, VERIFIED, {"locale": "de"}) is True
    [written] = aws.verified
    assert written["UserAttributes"] == [{"Name": "locale", "Value": "de"}]


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {"locale": "ja"},
        {"locale": ""},
        {"locale": "de\n"},
        {"locale": "d" * 2048},
        {"locale": "d"},
        {"locale": "de_DE"},
        {"locale": "de-"},
        {"locale": "de-D"},
        {"locale": "de-DE-a1-b2-c3"},
        {"locale": "dé"},
        {"locale": " de"},
        {"locale": None},
        {"locale": ["de"]},
    ],
)
def test_t40_odd_language_or_the_same_changes_nothing(
    lambdas: Lambdas, aws: StandIn, metadata: object
) -> None:
    assert signs_in(lambdas, aws, VERIFIED, metadata) is True
    assert aws.verified == []


def test_t40_failure_to_correct_the_language_fails_no_sign_in(
    lambdas: Lambdas, aws: StandIn
) -> None:
    aws.faults["AdminUpdateUserAttributes"] = refuse("InvalidParameterException")
    assert signs_in(lambdas, aws, VERIFIED, {"locale": "de"}) is True
    assert aws.calls[-1] == "AdminUpdateUserAttributes"


def test_t40_wrong_answer_picks_no_language(lambdas: Lambdas, aws: StandIn, created: Event) -> None:
    answer = NEWCOMER.answer(created, wrong(aws.mails[0].code))
    answer["request"]["clientMetadata"] = {"locale": "de"}
    assert lambdas.verify(answer) is False
    assert aws.verified == []


def test_t40_trigger_and_agent_take_the_same_languages() -> None:
    assert updating.LOCALE.pattern == LOCALE.pattern


def test_wrong_answer_marks_nothing(lambdas: Lambdas, aws: StandIn, created: Event) -> None:
    lambdas.verify(NEWCOMER.answer(created, wrong(aws.mails[0].code)))
    assert aws.verified == []


def test_client_that_updates_users_is_made_once_a_process(
    lambdas: Lambdas, aws: StandIn, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients.cognito.cache_clear()
    made: list[str] = []
    session = clients.session()
    make: Any = session.create_client

    def counting(service: str, **options: Any) -> Any:
        made.append(service)
        return make(service, **options)

    monkeypatch.setattr(session, "create_client", counting)
    for _ in range(2):
        created = lambdas.create(NEWCOMER.first_round())
        assert lambdas.verify(NEWCOMER.answer(created, aws.mails[-1].code)) is True
        clock.now += 31
    assert len(aws.verified) == 2
    assert made == ["cognito-idp"]
