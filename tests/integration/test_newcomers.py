"""How many users the agent creates: decided by MiniStack's DynamoDB, one conditional write each."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from tests.support.attacks import has_user
from tests.support.deployment import Deployment, new_address
from tests.support.newcomers import FewNewcomers

_AT_ONCE = 40


def test_t41_forty_newcomers_at_once_take_exactly_the_ten_that_are_left(stack: Deployment) -> None:
    """T41: whatever they have read before."""
    few, all_at_once = FewNewcomers(stack, 10), Barrier(_AT_ONCE)

    def admit(_: int) -> int | None:
        all_at_once.wait(30)
        return few.newcomers.admit()

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        hours = list(pool.map(admit, range(_AT_ONCE)))
    assert sorted(map(str, hours)) == [str(few.hour)] * 10 + ["None"] * 30
    assert few.item()["created"] == {"N": "10"}
    assert few.newcomers.are_used_up()


def test_t41_forty_addresses_at_once_create_ten_users_who_are_all_noted(stack: Deployment) -> None:
    few = FewNewcomers(stack, 10)
    addresses = [new_address() for _ in range(_AT_ONCE)]

    def make(address: str) -> bool:
        return few.cognito.make_user(address, locale=None, correlation_id="")

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        used_up = list(pool.map(make, addresses))
    created = [address for address in addresses if has_user(stack, address)]
    assert (len(created), used_up.count(False)) == (10, 10)
    item = few.item()
    assert item["created"] == {"N": "10"}
    assert {*item["subs"]["SS"]} == {stack.attributes(address)["sub"] for address in created}


@pytest.mark.parametrize("spell", [str.lower, str.upper, str.title])
def test_user_is_found_by_their_address_in_any_case_and_costs_none(
    stack: Deployment, spell: type[str]
) -> None:
    few, address = FewNewcomers(stack, 10), stack.new_user()
    few.cognito.make_user(spell(address), locale=None, correlation_id="")
    assert not few.item()


def test_newcomers_item_is_no_guest(stack: Deployment) -> None:
    few = FewNewcomers(stack, 10)
    few.cognito.make_user(new_address(), locale=None, correlation_id="")
    assert few.email_otp().guests.find(f"newcomers#{few.hour}") is None
