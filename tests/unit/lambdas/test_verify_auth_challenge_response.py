"""Verify: one write decides, and only the right answer of a live code is right."""

from dataclasses import replace

import pytest

from lambdas.email_otp.challenge import LONG_CODE_DIGITS, Challenge
from tests.support.aws_stand_in import StandIn
from tests.support.clock import Clock
from tests.support.triggers import (
    ADA,
    BOB,
    NOBODY,
    UNREADABLE_METADATA,
    USER,
    Event,
    Guest,
    Lambdas,
    saved_event,
    wrong,
)


def test_right_answer_costs_one_write(lambdas: Lambdas, aws: StandIn, created: Event) -> None:
    """And one read of the key in the life of a process."""
    verified = Guest(email_verified="true")
    assert lambdas.verify(verified.answer(created, aws.mails[0].code)) is True
    assert aws.calls == ["GetSecretValue", "UpdateItem"]


def test_wrong_answer_costs_one_write(lambdas: Lambdas, aws: StandIn, created: Event) -> None:
    assert lambdas.verify(ADA.answer(created, "0")) is False
    assert lambdas.verify(ADA.answer(created, "0")) is False
    assert aws.calls == ["GetSecretValue", "UpdateItem", "UpdateItem"]


def test_code_works_in_its_last_second_and_not_in_the_next(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    """T06."""
    issued_at = clock.now
    created = {who: lambdas.create(who.first_round()) for who in (ADA, BOB)}
    clock.now = issued_at + 300
    assert lambdas.verify(ADA.answer(created[ADA], aws.mails[0].code)) is False
    clock.now = issued_at + 299.99
    assert lambdas.verify(BOB.answer(created[BOB], aws.mails[1].code)) is True


def test_used_code_is_refused_in_the_same_session_and_in_a_new_one(
    lambdas: Lambdas, aws: StandIn, clock: Clock, created: Event
) -> None:
    """T04."""
    code = aws.mails[0].code
    joined = lambdas.create(ADA.first_round())
    assert lambdas.verify(ADA.answer(created, code)) is True
    assert lambdas.verify(ADA.answer(joined, code)) is False
    assert lambdas.verify(ADA.answer(lambdas.create(ADA.later_round(created)), code)) is False
    assert lambdas.verify(ADA.answer(lambdas.create(ADA.first_round()), code)) is False
    clock.now += 31
    assert lambdas.verify(ADA.answer(lambdas.create(ADA.first_round()), code)) is False


def test_code_is_refused_in_another_challenge(
    lambdas: Lambdas, aws: StandIn, clock: Clock, created: Event
) -> None:
    """T05: of the same user, and of another."""
    clock.now += 31
    newer = lambdas.create(ADA.first_round())
    others = lambdas.create(BOB.first_round())
    first, second, third = (mail.code for mail in aws.mails)
    assert lambdas.verify(ADA.answer(newer, first)) is False
    assert lambdas.verify(ADA.answer(created, second)) is False
    assert lambdas.verify(BOB.answer(others, first)) is False
    assert lambdas.verify(BOB.answer(created, first)) is False
    assert lambdas.verify(ADA.answer(others, third)) is False
    assert lambdas.verify(ADA.answer(newer, second)) is True


def test_older_code_works_until_a_newer_one_is_redeemed(
    lambdas: Lambdas, aws: StandIn, clock: Clock, created: Event
) -> None:
    """T07."""
    clock.now += 31
    newer = lambdas.create(ADA.first_round())
    older_mail, newer_mail = aws.mails
    assert lambdas.verify(ADA.answer(newer, newer_mail.code)) is True
    assert lambdas.verify(ADA.answer(created, older_mail.code)) is False


def test_redeeming_an_older_code_uses_up_the_newer_ones_too(
    lambdas: Lambdas, aws: StandIn, clock: Clock, created: Event
) -> None:
    """T07: redeeming kills every code issued up to then."""
    clock.now += 31
    newer = lambdas.create(ADA.first_round())
    older_mail, newer_mail = aws.mails
    assert lambdas.verify(ADA.answer(created, older_mail.code)) is True
    assert lambdas.verify(ADA.answer(newer, newer_mail.code)) is False


@pytest.mark.parametrize(("seconds", "correct"), [(0, True), (14, True), (15, False)])
def test_repeat_of_the_redeemed_answer_stays_right_for_a_while(
    lambdas: Lambdas, aws: StandIn, clock: Clock, created: Event, seconds: int, correct: bool
) -> None:
    """T32: the reply to the right answer was lost, and Cognito repeats Verify."""
    event = ADA.answer(created, aws.mails[0].code)
    assert lambdas.verify(event) is True
    clock.now += seconds
    assert lambdas.verify(event) is correct


def test_repeat_stays_right_across_the_codes_last_second(
    lambdas: Lambdas, aws: StandIn, clock: Clock, created: Event
) -> None:
    """T32: redeemed while the code lived, repeated after it expired."""
    event = ADA.answer(created, aws.mails[0].code)
    clock.now += 299
    assert lambdas.verify(event) is True
    clock.now += 3
    assert lambdas.verify(event) is True
    clock.now += 12
    assert lambdas.verify(event) is False


def test_only_the_redeemed_answer_repeats_across_the_codes_last_second(
    lambdas: Lambdas, aws: StandIn, clock: Clock, created: Event
) -> None:
    """T04 and T32: neither another answer of the call that won, nor another call's right one."""
    code = aws.mails[0].code
    joined = lambdas.create(ADA.first_round())
    clock.now += 299
    assert lambdas.verify(ADA.answer(created, code)) is True
    clock.now += 2
    assert lambdas.verify(ADA.answer(created, wrong(code))) is False
    assert lambdas.verify(ADA.answer(joined, code)) is False
    assert lambdas.verify(ADA.answer(created, code)) is True


def test_expired_code_that_was_not_redeemed_is_not_taken_for_a_repeat(
    lambdas: Lambdas, aws: StandIn, clock: Clock, created: Event
) -> None:
    """T06 and T32."""
    clock.now += 301
    assert lambdas.verify(ADA.answer(created, aws.mails[0].code)) is False
    clock.now += 31
    newer = lambdas.create(ADA.first_round())
    assert lambdas.verify(ADA.answer(newer, aws.mails[-1].code)) is True
    assert lambdas.verify(ADA.answer(created, aws.mails[0].code)) is False


def test_long_expired_answer_is_refused_without_a_call(
    lambdas: Lambdas, aws: StandIn, clock: Clock, created: Event
) -> None:
    clock.now += 300 + 15 * 60
    assert lambdas.verify(ADA.answer(created, aws.mails[0].code)) is False
    assert aws.calls == []


def test_repeat_of_another_create_calls_answer_is_not_right(
    lambdas: Lambdas, aws: StandIn, created: Event
) -> None:
    """T32: only the very same call repeats, not a session that joined the same code."""
    joined = lambdas.create(ADA.first_round())
    assert lambdas.verify(ADA.answer(created, aws.mails[0].code)) is True
    assert lambdas.verify(ADA.answer(joined, aws.mails[0].code)) is False


def test_unknown_user_is_refused_the_right_code_at_the_same_cost(
    lambdas: Lambdas, aws: StandIn, created: Event
) -> None:
    """T15: an unknown user's right code, which nobody was mailed, is a wrong answer."""
    unknown = lambdas.create(NOBODY.first_round())
    challenge = Challenge.from_metadata(unknown["challengeMetadata"])
    assert challenge
    key = lambdas.issuer._keys.current()
    code = challenge.code(key, replace(USER, name=NOBODY.name, known=False).ledger_key(key))
    aws.calls.clear()
    assert lambdas.verify(NOBODY.answer(unknown, code)) is False
    unknown_calls, aws.calls = aws.calls[1:], []
    assert lambdas.verify(ADA.answer(created, wrong(aws.mails[0].code))) is False
    assert aws.calls == unknown_calls


def test_code_is_dead_once_the_address_has_changed(
    lambdas: Lambdas, aws: StandIn, created: Event
) -> None:
    """T31: the address changed during the login; changed back, the code works."""
    code = aws.mails[0].code
    moved = Guest(email="victim@example.com")
    assert lambdas.verify(moved.answer(created, code)) is False
    assert aws.verified == []
    assert lambdas.verify(Guest(email="ADA@example.com").answer(created, code)) is True


def test_short_codes_still_out_die_with_the_tenth_wrong_answer(
    lambdas: Lambdas, aws: StandIn, created: Event
) -> None:
    """T01 and T02: the right code among too many guesses wins nothing."""
    for _ in range(10):
        assert lambdas.verify(ADA.answer(created, "0")) is False
    assert lambdas.verify(ADA.answer(created, aws.mails[0].code)) is False


def test_sign_in_forgets_no_wrong_answers(lambdas: Lambdas, aws: StandIn, clock: Clock) -> None:
    """T03."""
    for _ in range(5):
        created = lambdas.create(ADA.first_round())
        for _ in range(2):
            lambdas.verify(ADA.answer(created, "0"))
        correct = lambdas.verify(ADA.answer(created, aws.mails[-1].code))
        clock.now += 601
    assert correct is False
    created = lambdas.create(ADA.first_round())
    assert created["publicChallengeParameters"]["code_length"] == str(LONG_CODE_DIGITS)


@pytest.mark.parametrize(
    ("seconds", "digits"), [(20 * 24 * 3600 - 1, str(LONG_CODE_DIGITS)), (20 * 24 * 3600, "6")]
)
def test_codes_are_short_again_when_the_window_has_passed(
    lambdas: Lambdas, clock: Clock, created: Event, seconds: int, digits: str
) -> None:
    for _ in range(10):
        lambdas.verify(ADA.answer(created, "0"))
    clock.now += seconds
    again = lambdas.create(ADA.first_round())
    assert again["publicChallengeParameters"]["status"] == "sent"
    assert again["publicChallengeParameters"]["code_length"] == digits


@pytest.mark.parametrize("trigger_source", ["VerifyAuthChallenge_Authentication", "other", None])
def test_does_not_route_on_the_trigger_source(lambdas: Lambdas, trigger_source: str | None) -> None:
    """The documentation writes this one in two ways."""
    event = saved_event("verify_right_answer") | {"triggerSource": trigger_source}
    assert lambdas.verify(event) is True


@pytest.mark.parametrize("metadata", UNREADABLE_METADATA)
def test_no_answer_meets_a_challenge_that_cannot_be_read(
    lambdas: Lambdas, aws: StandIn, metadata: object
) -> None:
    """T17: written by another version of the triggers, say; the guest asks for a new code."""
    event = saved_event("verify_right_answer")
    for private in ({"challenge": metadata}, {}, None):
        event["request"]["privateChallengeParameters"] = private
        assert lambdas.verify(event) is False
    del event["request"]["privateChallengeParameters"]
    assert lambdas.verify(event) is False
    assert aws.calls == []
