"""T41: a flood of made-up addresses through the agent shuts nobody's door and creates few users."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agent.service.settings import ServiceSettings
from tests.support.agent_process import Chat
from tests.support.attacks import Member, has_user
from tests.support.chunks import outputs_of, text_of
from tests.support.deployment import Deployment, new_address
from tests.support.newcomers import FewNewcomers
from tests.support.serving import serving

_BUDGET = 3
_FLOOD = 12
_LATE = r"Many people are signing in just now, so the mail may be late or not come at all"


def ask(chat: Chat, address: str) -> dict[str, Any]:
    """Ask for a code; returns the tool's output, without when it was asked."""
    (output,) = outputs_of(chat.say(f"I'm Ada, {address}"))
    return {**output, "expires_in_seconds": None, "try_again_in_minutes": None}


def play(url: str, address: str) -> list[Any]:
    """Ask for a code and answer wrong until the sign-in ends; returns all that is heard."""
    chat = Chat(url)
    heard: list[Any] = [ask(chat, address)]
    for _ in range(4):
        (output,) = outputs_of(chat.say("", code="000000"))
        heard.append({**output, "retry_after_seconds": None})
    return heard


def test_t41_flood_of_made_up_addresses_creates_few_users_and_returning_guests_get_their_mail(
    stack: Deployment, settings: ServiceSettings, ada: Member, bob: Member
) -> None:
    """T41: who is known, new or refused hears the same, whatever they answer."""
    few = FewNewcomers(stack, _BUDGET)
    flood = [new_address() for _ in range(_FLOOD)]
    for member in (ada, bob):
        stack.age_ledger(member.address, 31)
    with serving(settings, email_otp=few.email_otp()) as url:
        with ThreadPoolExecutor(_FLOOD) as pool:
            heard = list(pool.map(lambda address: ask(Chat(url), address), flood))
        created = [address for address in flood if has_user(stack, address)]
        assert len(created) == _BUDGET
        assert few.item()["created"] == {"N": str(_BUDGET)}
        assert {*few.item()["subs"]["SS"]} == {stack.attributes(each)["sub"] for each in created}
        assert [output["status"] for output in heard] == ["code_sent"] * _FLOOD
        assert {frozenset(output) for output in heard} == {frozenset(heard[0])}

        mails = len(stack.mails_to(ada.address))
        refused = new_address()
        assert play(url, ada.address) == play(url, refused)
        assert len(stack.mails_to(ada.address)) == mails + 1
        assert not has_user(stack, refused)
        assert not stack.mails_to(refused)

        guest = Chat(url)
        chunks = guest.say(f"I'm Bob, {bob.address}")
        assert outputs_of(chunks)[0]["busy"]
        assert 1 <= outputs_of(chunks)[0]["try_again_in_minutes"] <= 60
        assert _LATE in text_of(chunks)
        (event,) = outputs_of(guest.say("", code=stack.code_mailed_to(bob.address)))
        assert event["cognito_sub"] == bob.sub


def test_t30_two_first_logins_of_one_address_at_once_count_one_newcomer(
    stack: Deployment, settings: ServiceSettings
) -> None:
    """T30: and none more when they ask again."""
    few, address = FewNewcomers(stack, _BUDGET), new_address()
    with serving(settings, email_otp=few.email_otp()) as url, ThreadPoolExecutor(2) as pool:
        heard = list(pool.map(lambda _: ask(Chat(url), address), range(2)))
        assert [output["success"] for output in heard] == [True, True]
        assert ask(Chat(url), address)["success"]
    assert few.item()["created"] == {"N": "1"}
    assert few.item()["subs"] == {"SS": [stack.attributes(address)["sub"]]}


@pytest.mark.parametrize("operation", ["GetItem", "UpdateItem"])
def test_t41_newcomer_who_cannot_be_counted_is_told_to_try_again(
    stack: Deployment, settings: ServiceSettings, operation: str
) -> None:
    """T41: nobody is created beyond what could be counted."""
    few, address = FewNewcomers(stack, _BUDGET), new_address()
    with serving(settings, email_otp=few.email_otp()) as url:
        throttled = {"service": "dynamodb", "operation": operation, "fault": "throttle"}
        with stack.switched(faults=[throttled]):
            (output,) = outputs_of(Chat(url).say(f"I'm Ada, {address}"))
    assert output["error_code"] == "RATE_LIMITED"
    assert not has_user(stack, address)
