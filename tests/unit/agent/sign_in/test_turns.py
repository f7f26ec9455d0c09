"""What is remembered of a chat, and for how long others cannot displace it."""

import asyncio
from dataclasses import replace

import pytest
from botocore.exceptions import ConnectTimeoutError

from agent.sign_in import CodeSent, EmailOtp, ErrorCode, Refused, SignedIn
from agent.sign_in.guests import GuestStore
from agent.sign_in.login import LoginFlow
from tests.support.clock import Clock
from tests.support.fakes import FakeCognito, FakeDynamoDb
from tests.support.service import SETTINGS

CHAT = "chat-of-ada"
ADA = "ada@example.com"


def initiate(email_otp: EmailOtp, chat: str, email: str = ADA) -> CodeSent | Refused:
    return asyncio.run(email_otp.turn(chat, email).request_code(email, "Ada"))


def verify(email_otp: EmailOtp, chat: str, code: str) -> SignedIn | Refused:
    turn = email_otp.turn(chat, "", code=code)
    reference = turn.prompt.removeprefix("[code_reference: ").removesuffix("]")
    return asyncio.run(turn.answer_code(reference))


def mailed_code(email_otp: EmailOtp, cognito: FakeCognito) -> str:
    assert isinstance(initiate(email_otp, CHAT), CodeSent)
    return cognito.mailed[-1][1]


def expects_code(email_otp: EmailOtp, chat: str) -> bool:
    """Whether a code in an unusual form is hidden."""
    return "407:193" not in email_otp.turn(chat, "It is 407:193").prompt


def test_t41_settings_say_how_many_users_are_created_in_an_hour(
    cognito: FakeCognito, dynamodb: FakeDynamoDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.sign_in.turns.clients.connect", lambda *_: (cognito, dynamodb))
    email_otp = EmailOtp.connect(replace(SETTINGS, max_new_guests_per_hour=1))
    for name in "abc":
        assert isinstance(initiate(email_otp, name, f"{name}@example.com"), CodeSent)
    assert {*cognito.users} == {"a@example.com"}


@pytest.fixture
def small(
    flow: LoginFlow, guests: GuestStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> EmailOtp:
    """A sign-in that remembers three new chats, and three in which a code was sent."""
    monkeypatch.setattr("agent.sign_in.turns._CHATS_LIMIT", 3)
    return EmailOtp(flow, guests, clock=clock)


def test_chats_that_ask_for_no_code_push_no_pending_login_out(
    small: EmailOtp, cognito: FakeCognito
) -> None:
    """T19: else a flood of small talk would end sign-ins and show their codes to the model."""
    code = mailed_code(small, cognito)
    for number in range(10):
        other = f"chat-{number}"
        assert not expects_code(small, other)
        assert small.code_sent_to(other) is None
        assert verify(small, other, "123456") == Refused(error_code=ErrorCode.NO_LOGIN_PENDING)
    assert expects_code(small, CHAT)
    assert isinstance(verify(small, CHAT, code), SignedIn)


def test_looking_for_a_pending_code_remembers_no_chat(small: EmailOtp) -> None:
    assert small.code_sent_to("never seen") is None
    assert len(small.chats) == 0


def test_t38_flood_of_refused_requests_loses_no_login_that_is_under_way(
    small: EmailOtp, cognito: FakeCognito
) -> None:
    """T38: only a code that has gone out makes a login one that others do not displace."""
    code = mailed_code(small, cognito)
    cognito.parameters = {"status": "throttled"}
    for number in range(10):
        initiate(small, f"flood-{number}")
    assert expects_code(small, CHAT)
    assert isinstance(verify(small, CHAT, code), SignedIn)


def test_t38_flood_of_codes_to_one_address_ends_its_own_logins_alone(
    small: EmailOtp, cognito: FakeCognito
) -> None:
    """T38: however it is spelled."""
    code = mailed_code(small, cognito)
    for number, spelling in enumerate(["mal", "Mal", "mAl", "maL", "MAl"]):
        initiate(small, f"flood-{number}", f"{spelling}@example.com")
    assert isinstance(verify(small, CHAT, code), SignedIn)


@pytest.mark.parametrize("how", ["no answer", "throttled", "earlier process"])
def test_t38_flood_of_chats_shows_no_code_that_may_be_on_its_way(
    small: EmailOtp, cognito: FakeCognito, how: str
) -> None:
    """T38, T37: though this chat knows of no code that was sent."""
    if how == "earlier process":
        small.expect_code_from_before(CHAT)
    else:
        if how == "throttled":
            cognito.parameters = {"status": "throttled"}
        else:
            cognito.fail["AdminInitiateAuth"] = ConnectTimeoutError(endpoint_url="x")
        assert isinstance(initiate(small, CHAT), Refused)
        cognito.parameters, cognito.fail = {}, {}
    for number in range(10):
        small.turn(f"flood-{number}", f"I'm visitor{number}@example.com")
    assert expects_code(small, CHAT)


def test_t38_flood_of_refused_chats_ends_no_login_of_another(
    small: EmailOtp, cognito: FakeCognito
) -> None:
    """T38: they count as one owner's."""
    code = mailed_code(small, cognito)
    cognito.fail["AdminInitiateAuth"] = ConnectTimeoutError(endpoint_url="x")
    for number in range(10):
        initiate(small, f"flood-{number}", f"visitor{number}@example.com")
    cognito.fail = {}
    assert isinstance(verify(small, CHAT, code), SignedIn)


def test_login_under_way_stays_its_own_when_its_history_is_loaded(
    small: EmailOtp, cognito: FakeCognito
) -> None:
    """T38: it does not become one of those that displace one another."""
    code = mailed_code(small, cognito)
    small.expect_code_from_before(CHAT)
    cognito.parameters = {"status": "throttled"}
    for number in range(10):
        initiate(small, f"flood-{number}", f"visitor{number}@example.com")
    assert isinstance(verify(small, CHAT, code), SignedIn)


def test_failed_request_keeps_the_login_under_way_from_a_flood(
    small: EmailOtp, cognito: FakeCognito
) -> None:
    code = mailed_code(small, cognito)
    cognito.fail["AdminInitiateAuth"] = ConnectTimeoutError(endpoint_url="x")
    assert isinstance(initiate(small, CHAT), Refused)
    for number in range(10):
        initiate(small, f"flood-{number}", f"visitor{number}@example.com")
    cognito.fail = {}
    assert isinstance(verify(small, CHAT, code), SignedIn)


def test_chat_that_idled_for_an_hour_begins_anew(
    email_otp: EmailOtp, cognito: FakeCognito, clock: Clock
) -> None:
    """Its address is to be typed again, and its login answers no code."""
    code = mailed_code(email_otp, cognito)
    clock.now += 3_601
    assert verify(email_otp, CHAT, code) == Refused(error_code=ErrorCode.NO_LOGIN_PENDING)
    refused = asyncio.run(email_otp.turn(CHAT, "again").request_code(ADA, ""))
    assert isinstance(refused, Refused)
    assert refused.error_code is ErrorCode.INVALID_EMAIL
