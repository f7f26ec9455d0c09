"""Create: the first round mails a code, later rounds go on with the newest one."""

from typing import Any

import pytest

from lambdas.email_otp.challenge import LONG_CODE_DIGITS, UNANSWERABLE, Challenge
from lambdas.email_otp.errors import TriggerError
from lambdas.email_otp.pretence import FIRST_SECONDS, REMEMBERED_MAILS
from tests.support.aws_stand_in import COUNT_MAIL, COUNT_MAILBOX, Died, StandIn, refuse
from tests.support.clock import Clock, Passing
from tests.support.triggers import (
    ADA,
    BOB,
    EVENTS_ISSUED_AT,
    NOBODY,
    POOL,
    UNREADABLE_METADATA,
    Event,
    Guest,
    Lambdas,
    saved_event,
)

FIRST_ROUND_CALLS = [COUNT_MAIL, "UpdateItem", "SendEmail", "UpdateItem"]


def _public(created: Event) -> dict[str, str]:
    public: dict[str, str] = created["publicChallengeParameters"]
    return public


def test_first_round_mails_a_code_and_tells_what_its_caller_may_know(
    lambdas: Lambdas, aws: StandIn
) -> None:
    created = lambdas.create(ADA.first_round())
    assert _public(created) == {
        "delivery": "EMAIL",
        "code_length": "6",
        "expires_at": str(EVENTS_ISSUED_AT + 300),
        "attempts_left": "3",
        "status": "sent",
        "retry_after_seconds": "30",
        "busy": "false",
    }
    [mail] = aws.mails
    assert mail.to == "ada@example.com"
    assert mail.code not in str(created)


def test_first_round_costs_two_writes_one_mail_and_one_write(
    lambdas: Lambdas, aws: StandIn
) -> None:
    """And one read of the key in the life of a process."""
    lambdas.create(ADA.first_round())
    assert aws.calls == ["GetSecretValue", *FIRST_ROUND_CALLS]
    lambdas.create(BOB.first_round())
    assert aws.calls == ["GetSecretValue", *FIRST_ROUND_CALLS * 2]
    aws.calls.clear()
    lambdas.create(Guest(name="new", email="new@example.com", email_verified="false").first_round())
    hour, *others = FIRST_ROUND_CALLS
    assert aws.calls == [hour, COUNT_MAILBOX, *others]


def test_mails_are_counted_by_the_hour_for_the_pool_of_the_sign_in(
    lambdas: Lambdas, aws: StandIn
) -> None:
    """T10b: so that stacks which share a ledger take no mails from each other."""
    lambdas.create(ADA.first_round())
    lambdas.create(BOB.first_round() | {"userPoolId": "us-east-1_EXAMPLE02"})
    hour = EVENTS_ISSUED_AT // 3600
    for pool in (POOL, "us-east-1_EXAMPLE02"):
        assert aws.items[f"stack#{pool}#{hour}"]["sends"] == {"N": "1"}


def test_later_round_shows_the_same_challenge_and_reads_the_ledger_once(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    created = lambdas.create(ADA.first_round())
    aws.calls.clear()
    for rounds, wait in ((1, "20"), (2, "0")):
        clock.now = EVENTS_ISSUED_AT + 10 + 30 * (rounds - 1)
        again = lambdas.create(ADA.later_round(created, rounds=rounds))
        assert _public(again) == _public(created) | {
            "attempts_left": str(3 - rounds),
            "retry_after_seconds": wait,
        }
        assert lambdas.verify(ADA.answer(again, "0")) is False
    assert aws.calls == ["UpdateItem", "GetSecretValue", "UpdateItem", "UpdateItem", "UpdateItem"]


def test_later_round_takes_up_the_code_of_the_newest_mail(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    """A stranger's request costs the guest one wrong answer: then the new code is right."""
    begun = lambdas.create(ADA.first_round())
    clock.now += 30
    stranger = lambdas.create(ADA.first_round())
    old, new = aws.mails
    assert lambdas.verify(ADA.answer(begun, new.code)) is False
    again = lambdas.create(ADA.later_round(begun))
    assert _public(again)["expires_at"] == _public(stranger)["expires_at"]
    assert _public(again)["attempts_left"] == "2"
    assert lambdas.verify(ADA.answer(again, old.code)) is False
    again = lambdas.create(ADA.later_round(again, rounds=2))
    assert lambdas.verify(ADA.answer(again, new.code)) is True


def test_later_round_takes_up_a_long_code_with_its_one_try(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    begun = lambdas.create(ADA.first_round())
    for _ in range(10):
        assert lambdas.verify(ADA.answer(begun, "0")) is False
    killed = lambdas.create(ADA.later_round(begun))
    assert _public(killed)["status"] == "expired"
    clock.now += 30
    lambdas.create(ADA.first_round())
    again = lambdas.create(ADA.later_round(killed, rounds=2))
    assert (_public(again)["status"], _public(again)["attempts_left"]) == ("sent", "1")
    assert _public(again)["code_length"] == str(LONG_CODE_DIGITS)
    assert lambdas.verify(ADA.answer(again, aws.mails[-1].code)) is True


@pytest.mark.parametrize("redeemed", [False, True])
def test_t39_later_round_does_not_tell_of_a_sign_in(
    lambdas: Lambdas, aws: StandIn, clock: Clock, redeemed: bool
) -> None:
    """Else a stranger who began a sign-in sees when the guest has finished theirs."""
    stranger = lambdas.create(ADA.first_round())
    if redeemed:
        lambdas.verify(ADA.answer(stranger, aws.mails[0].code))
    clock.now += 10
    beside = lambdas.create(ADA.first_round())
    for begun in (stranger, beside):
        lambdas.verify(ADA.answer(begun, "0"))
        assert _public(lambdas.create(ADA.later_round(begun))) == _public(stranger) | {
            "attempts_left": "2",
            "retry_after_seconds": "20",
        }


def test_later_round_of_another_address_takes_nothing_up(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    """T31: the newest code went to an address that is no longer the user's."""
    begun = lambdas.create(ADA.first_round())
    clock.now += 30
    lambdas.create(Guest(email="ada@example.net").first_round())
    again = lambdas.create(ADA.later_round(begun))
    assert _public(again)["expires_at"] == _public(begun)["expires_at"]
    assert lambdas.verify(ADA.answer(again, aws.mails[0].code)) is True


def test_later_round_says_when_the_code_has_expired(lambdas: Lambdas, clock: Clock) -> None:
    """T06: the last valid second, and the next."""
    created = lambdas.create(ADA.first_round())
    clock.now += 299.9
    assert _public(lambdas.create(ADA.later_round(created)))["status"] == "sent"
    clock.now += 0.1
    assert _public(lambdas.create(ADA.later_round(created)))["status"] == "expired"


def test_mail_is_in_the_language_of_the_locale(lambdas: Lambdas, aws: StandIn) -> None:
    lambdas.create(saved_event("create_first_round_with_locale"))
    assert aws.mails[0].subject.startswith("Ihr Anmeldecode")


def test_repeats_in_a_row_mail_one_code(lambdas: Lambdas, aws: StandIn, clock: Clock) -> None:
    """T09: the trigger repeated three times within seconds."""
    replies = []
    for _ in range(3):
        replies.append(lambdas.create(ADA.first_round()))
        clock.now += 2
    [mail] = aws.mails
    assert [_public(reply)["status"] for reply in replies] == ["sent"] * 3
    assert [_public(reply)["retry_after_seconds"] for reply in replies] == ["30", "28", "26"]
    assert lambdas.verify(ADA.answer(replies[0], mail.code)) is True


def test_any_repeats_reply_takes_the_one_mailed_code(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    """T09: Cognito keeps one reply of three, and the guest cannot know which."""
    for kept in range(3):
        clock.now += 3600
        aws.mails.clear()
        replies = [lambdas.create(ADA.first_round()) for _ in range(3)]
        [mail] = aws.mails
        assert lambdas.verify(ADA.answer(replies[kept], mail.code)) is True


def test_repeat_between_the_two_writes_mails_in_its_place(lambdas: Lambdas, aws: StandIn) -> None:
    """T09: the repeats run while the first has its mail of the hour, and not yet its send."""
    beside: list[Event] = []

    def repeat() -> None:
        aws.after.clear()
        beside.extend(lambdas.create(ADA.first_round()) for _ in range(2))

    aws.after[COUNT_MAIL] = repeat
    first = lambdas.create(ADA.first_round())
    [mail] = aws.mails
    assert [_public(reply)["status"] for reply in (first, *beside)] == ["sent"] * 3
    [hour] = [item for key, item in aws.items.items() if key.startswith("stack#")]
    assert hour["sends"] == {"N": "1"}
    assert lambdas.verify(ADA.answer(first, mail.code)) is True


def test_repeat_while_the_mail_is_on_its_way_joins_it(lambdas: Lambdas, aws: StandIn) -> None:
    """T09: the repeats run side by side with the first."""
    beside: list[Event] = []

    def repeat() -> None:
        aws.after.clear()
        beside.extend(lambdas.create(ADA.first_round()) for _ in range(2))

    aws.after["SendEmail"] = repeat
    first = lambdas.create(ADA.first_round())
    [mail] = aws.mails
    for reply in (first, *beside):
        assert _public(reply)["status"] == "sent"
    assert lambdas.verify(ADA.answer(beside[1], mail.code)) is True


@pytest.mark.parametrize("seconds", [0, 3])
def test_repeat_soon_after_a_death_waits_for_the_mail(
    lambdas: Lambdas, aws: StandIn, clock: Clock, seconds: int
) -> None:
    """T33: the first Create may only be slow, so its mail is not sent twice at once."""
    _die_before_mailing(lambdas, aws)
    clock.now += seconds
    assert _public(lambdas.create(ADA.first_round()))["status"] == "sent"
    assert aws.mails == []


def test_repeat_after_a_death_mails_the_same_code(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    """T33: Create dies between reserving and mailing; a repeat 4 s on takes over."""
    _die_before_mailing(lambdas, aws)
    clock.now += 4
    created = lambdas.create(ADA.first_round())
    again = lambdas.create(ADA.first_round())
    [mail] = aws.mails
    assert lambdas.verify(ADA.answer(created, mail.code)) is True
    assert _public(again)["status"] == "sent"


def test_repeat_after_a_death_past_the_mail_sends_the_same_code_again(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    """T33: the mail went out and its record did not; both mails work."""
    aws.after["SendEmail"] = _die
    with pytest.raises(Died):
        lambdas.create(ADA.first_round())
    aws.after.clear()
    clock.now += 4
    created = lambdas.create(ADA.first_round())
    first, second = aws.mails
    assert first.code == second.code
    assert lambdas.verify(ADA.answer(created, first.code)) is True


def test_one_code_is_mailed_at_most_three_times(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    """T33: deaths in a row do not bomb the guest, and the next code comes after the cooldown."""
    aws.after["SendEmail"] = _die
    for _ in range(3):
        with pytest.raises(Died):
            lambdas.create(ADA.first_round())
        clock.now += 4
    public = _public(lambdas.create(ADA.first_round()))
    assert (public["status"], public["retry_after_seconds"]) == ("throttled", "18")
    assert len(aws.mails) == 3
    aws.after.clear()
    clock.now += 18
    lambdas.create(ADA.first_round())
    assert aws.mails[3].code != aws.mails[0].code


def test_slow_creates_late_record_leaves_a_newer_mail_alone(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    """T33: a Create that failed late must not undo what its repeat has done since."""

    def overtaken() -> None:
        aws.faults.clear()
        clock.now += 4
        lambdas.create(ADA.first_round())
        refuse("MessageRejected")()

    aws.faults["SendEmail"] = overtaken
    with pytest.raises(TriggerError, match=r"^ERR_EMAIL_DELIVERY_FAILED$"):
        lambdas.create(ADA.first_round())
    lambdas.create(ADA.first_round())
    assert len(aws.mails) == 1


def test_throttled_round_holds_a_challenge_nothing_answers(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    lambdas.create(ADA.first_round())
    clock.now += 10
    throttled = lambdas.create(Guest(email="ada@example.net").first_round())
    assert _public(throttled) == {
        "delivery": "EMAIL",
        "code_length": "6",
        "expires_at": "0",
        "attempts_left": "0",
        "status": "throttled",
        "retry_after_seconds": "20",
        "busy": "false",
    }
    assert throttled["challengeMetadata"] == UNANSWERABLE
    assert lambdas.verify(ADA.answer(throttled, aws.mails[0].code)) is False
    assert lambdas.create(ADA.later_round(throttled))["challengeMetadata"] == UNANSWERABLE


@pytest.mark.parametrize("metadata", UNREADABLE_METADATA)
def test_later_round_of_a_challenge_that_cannot_be_read_holds_one_nothing_answers(
    lambdas: Lambdas, aws: StandIn, metadata: Any
) -> None:
    """T17: written by another version of the triggers, say; the guest asks for a new code."""
    later = lambdas.create(ADA.later_round({"challengeMetadata": metadata}))
    assert later["challengeMetadata"] == UNANSWERABLE
    assert (_public(later)["status"], _public(later)["attempts_left"]) == ("throttled", "0")
    assert aws.calls == []


@pytest.mark.parametrize(("ago", "wait"), [(0, 30), (29, 1), (29.99, 1)])
def test_retry_after_is_told_to_the_second(
    lambdas: Lambdas, clock: Clock, ago: float, wait: int
) -> None:
    lambdas.create(ADA.first_round())
    clock.now += ago
    assert _public(lambdas.create(ADA.first_round()))["retry_after_seconds"] == str(wait)


def test_retry_after_does_not_jump_when_the_cooldown_ends_meanwhile(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    """A refusal in the cooldown's last second is judged by that second."""
    lambdas.create(ADA.first_round())
    clock.now += 29.9

    def a_moment_passes() -> None:
        clock.now += 0.2

    aws.faults["UpdateItem"] = a_moment_passes
    assert _public(lambdas.create(ADA.first_round()))["retry_after_seconds"] == "1"


@pytest.mark.parametrize("user_attributes", [{}, None, "missing"])
def test_unknown_user_gets_what_a_known_one_gets(
    lambdas: Lambdas, aws: StandIn, user_attributes: Any
) -> None:
    """T15 and T41: same shape, same calls but for the mail, which nobody gets."""
    event = saved_event("create_user_not_found")
    event["request"]["userAttributes"] = user_attributes
    if user_attributes == "missing":
        del event["request"]["userAttributes"]
    known = _public(lambdas.create(ADA.first_round()))
    known_calls, aws.calls = aws.calls[1:], []
    assert _public(lambdas.create(event)) == known
    assert aws.calls == [call for call in known_calls if call != "SendEmail"]
    assert len(aws.mails) == 1


def test_t41_unknown_user_waits_as_long_as_a_mail_took(
    lambdas: Lambdas, aws: StandIn, passing: Passing
) -> None:
    """One of this process's last mails, and whether that one was taken too."""
    lambdas.create(NOBODY.first_round())
    assert passing.slept == [FIRST_SECONDS]
    took = iter([0.25, 0.5, 0.75] * 10)
    aws.faults["SendEmail"] = lambda: passing.sleep(next(took))
    for number in range(REMEMBERED_MAILS + 4):
        lambdas.create(Guest(name=f"a{number}", email=f"a{number}@example.com").first_round())
    passing.slept.clear()
    for number in range(60):
        lambdas.create(Guest(name=f"n{number}", email=None).first_round())
    assert {round(seconds, 3) for seconds in passing.slept} == {0.25, 0.5, 0.75}
    aws.faults["SendEmail"] = refuse("MessageRejected")
    for number in range(REMEMBERED_MAILS):
        with pytest.raises(TriggerError, match=r"^ERR_EMAIL_DELIVERY_FAILED$"):
            lambdas.create(Guest(name=f"b{number}", email="b@example.com").first_round())
    with pytest.raises(TriggerError, match=r"^ERR_EMAIL_DELIVERY_FAILED$"):
        lambdas.create(Guest(name="n60", email=None).first_round())


@pytest.mark.parametrize("newcomer", [False, True])
def test_t41_whoever_is_sent_none_hears_what_all_others_hear(
    lambdas: Lambdas, aws: StandIn, clock: Clock, newcomer: bool
) -> None:
    """Known, unknown and new, while mails are used up: the first time, and each time after."""
    beyond = Guest(email_verified="false" if newcomer else "true")
    hour = f"stack#{POOL}#{EVENTS_ISSUED_AT // 3600}"
    used_up = {"newcomer_sends": {"N": "200"}} if newcomer else {"sends": {"N": "1000"}}
    aws.items[hour] = {"sub": {"S": hour}, "unknown_sends": {"N": "0"}} | used_up
    for seconds in (0, 1, 29, 30, 30, 30, 30, 5):
        clock.now += seconds
        known, unknown = (lambdas.create(who.first_round()) for who in (beyond, NOBODY))
        assert _public(known) == _public(unknown)
        assert _public(known)["busy"] == "true"
        for who, created in ((beyond, known), (NOBODY, unknown)):
            challenge = Challenge.from_metadata(created["challengeMetadata"])
            assert challenge
            key = lambdas.verify_keys.version(challenge.key_version)
            code = challenge.code(key, who.name)
            assert lambdas.verify(who.answer(created, code)) is False
        known, unknown = (
            lambdas.create(who.later_round(created))
            for who, created in ((beyond, known), (NOBODY, unknown))
        )
        assert _public(known) == _public(unknown)
    assert aws.mails == []


def test_t43_spellings_of_one_mailbox_share_its_mails(lambdas: Lambdas, aws: StandIn) -> None:
    for number in range(100):
        address = f"v.ic{'.' * (number % 2)}tim+{number}@example.com".replace("..", ".")
        newcomer = Guest(name=f"v{number}", email=address, email_verified="false")
        assert _public(lambdas.create(newcomer.first_round()))["status"] == "sent"
    assert len(aws.mails) == 5


def test_unknown_user_meets_the_limits_of_a_known_one(lambdas: Lambdas, clock: Clock) -> None:
    """T15: cooldown, joins and caps do not tell who exists either."""
    for seconds in (0, 1, 28, 29, 30, 30, 30, 30, 30, 30, 600, 5):
        clock.now += seconds
        known, unknown = (_public(lambdas.create(who.first_round())) for who in (ADA, NOBODY))
        assert unknown == known


@pytest.mark.parametrize(
    "name", ["nobody", "n\u00f6body@example.com", "nobody@example.com\r\n", ""]
)
def test_unknown_name_that_is_no_address_is_challenged_too(
    lambdas: Lambdas, aws: StandIn, name: str
) -> None:
    """T13 and T15: a user's `sub` is a name too, and one that is nobody's must not fail."""
    created = lambdas.create(Guest(name=name, email=None).first_round())
    assert _public(created)["status"] == "sent"
    assert aws.mails == []


def test_ledger_holds_no_address_no_name_and_no_code(lambdas: Lambdas, aws: StandIn) -> None:
    """T22's share of the ledger."""
    for guest in (ADA, BOB, NOBODY):
        lambdas.create(guest.first_round())
    held = str(aws.items)
    for secret in ("@", "example.com", "nobody", *(mail.code for mail in aws.mails)):
        assert f"'{secret}'" not in held
        assert secret.isdigit() or secret not in held


def test_mail_goes_to_the_address_of_the_event_not_to_the_typed_one(
    lambdas: Lambdas, aws: StandIn
) -> None:
    """T13: the address in the event and the one typed differ."""
    event = ADA.first_round()
    event["userName"] = "mallory@example.com"
    lambdas.create(event)
    assert [mail.to for mail in aws.mails] == ["ada@example.com"]


def test_changed_address_is_not_mailed_within_the_cooldown_and_joins_nothing(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    """T31: the address changed between two sign-ins."""
    lambdas.create(ADA.first_round())
    clock.now += 10
    moved = lambdas.create(Guest(email="ada@example.net").first_round())
    assert _public(moved)["status"] == "throttled"
    assert len(aws.mails) == 1
    back = lambdas.create(Guest(email="ADA@EXAMPLE.COM").first_round())
    assert _public(back)["status"] == "sent"


@pytest.mark.parametrize(
    "address",
    [
        "ada@example.com\r\nBcc: eve@example.com",
        "ada@example.com,eve@example.com",
        "Ada <ada@example.com>",
        "\u0430da@example.com",
        "ada@ex\u00e4mple.com",
        "a" * 300 + "@example.com",
        "",
    ],
)
def test_address_that_is_no_plain_one_is_not_mailed(
    lambdas: Lambdas, aws: StandIn, address: str
) -> None:
    """T13."""
    with pytest.raises(TriggerError, match=r"^ERR_EMAIL_DELIVERY_FAILED$"):
        lambdas.create(Guest(email=address).first_round())
    assert aws.mails == []
    assert aws.items == {}


def test_long_code_once_ten_answers_were_wrong(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    """T02 and T03: wrong answers add up over sessions and codes."""
    for _ in range(10):
        created = lambdas.create(ADA.first_round())
        assert _public(created)["code_length"] == "6"
        assert lambdas.verify(ADA.answer(created, "no")) is False
        clock.now += 601
    created = lambdas.create(ADA.first_round())
    assert _public(created)["code_length"] == str(LONG_CODE_DIGITS)
    assert _public(created)["attempts_left"] == "1"
    assert len(aws.mails[-1].code) == LONG_CODE_DIGITS
    assert lambdas.verify(ADA.answer(created, aws.mails[-1].code)) is True


def test_new_process_reads_the_key_by_name_after_a_rotation(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    """T34: old and new processes side by side take each other's codes."""
    old = lambdas
    created = old.create(ADA.first_round())
    aws.rotate_key()
    new = Lambdas(clock)
    joined = new.create(ADA.first_round())
    assert _public(joined) == _public(created)
    issued_by_new = new.create(BOB.first_round())
    assert new.verify(ADA.answer(created, aws.mails[0].code)) is True
    assert old.verify(BOB.answer(issued_by_new, aws.mails[1].code)) is True


def test_mail_lost_before_a_rotation_is_sent_again_with_the_same_code(
    lambdas: Lambdas, aws: StandIn, clock: Clock
) -> None:
    """T33 and T34: a process under the new key takes over what one under the old key reserved."""
    _die_before_mailing(lambdas, aws)
    aws.rotate_key()
    clock.now += 4
    created = Lambdas(clock).create(ADA.first_round())
    [mail] = aws.mails
    assert lambdas.verify(ADA.answer(created, mail.code)) is True


def _die() -> None:
    raise Died


def _die_before_mailing(lambdas: Lambdas, aws: StandIn) -> None:
    aws.faults["SendEmail"] = _die
    with pytest.raises(Died):
        lambdas.create(ADA.first_round())
    aws.faults.clear()
