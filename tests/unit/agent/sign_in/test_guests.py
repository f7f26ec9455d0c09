"""The guests' records."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import pytest

from agent.sign_in.guests import GuestStore
from tests.support.clock import NOW, Clock
from tests.support.fakes import FakeDynamoDb


def test_first_sign_in_makes_the_guest(guests: GuestStore) -> None:
    guest = guests.record_login("sub-1", email="ada@example.com", name="Ada")
    assert re.fullmatch(r"GST-2027-[A-Z0-9]{6}", guest.guest_id)
    assert (guest.cognito_sub, guest.email, guest.name) == ("sub-1", "ada@example.com", "Ada")
    assert guest.created_at == guest.last_login_at == NOW
    assert guests.find("sub-1") == guest


def test_next_sign_in_moves_last_login_and_takes_a_changed_address(
    guests: GuestStore, clock: Clock
) -> None:
    first = guests.record_login("sub-1", email="ada@example.com", name="Ada")
    clock.now += 60
    second = guests.record_login("sub-1", email="other@example.com", name="Eve")
    assert second.last_login_at == NOW + 60
    assert (second.guest_id, second.email, second.name, second.created_at) == (
        first.guest_id,
        "other@example.com",
        "Ada",
        NOW,
    )
    assert guests.find("sub-1") == second


def test_name_given_later_is_kept(guests: GuestStore) -> None:
    assert guests.record_login("sub-1", email="ada@example.com", name="").name == ""
    assert guests.record_login("sub-1", email="ada@example.com", name="Ada").name == "Ada"


def test_t28_each_sub_has_its_own_record(guests: GuestStore) -> None:
    ada = guests.record_login("sub-1", email="ada@example.com", name="Ada")
    assert guests.find("sub-2") is None
    assert guests.record_login("sub-2", email="b@example.com", name="").guest_id != ada.guest_id


def test_t30_first_sign_ins_at_once_make_one_guest(
    guests: GuestStore, dynamodb: FakeDynamoDb
) -> None:
    ids: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: ids.append(
                guests.record_login("sub-1", email="ada@example.com", name="Ada").guest_id
            )
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    records = [key for key in dynamodb.items if not key.startswith("guest_id#")]
    assert len(set(ids)) == len(records) == 1


def test_t40_number_that_is_taken_is_not_given_again(dynamodb: FakeDynamoDb, clock: Clock) -> None:
    """T40: a clash takes another number, and leaves the other guest's alone."""
    numbers = iter(["GST-2027-AAAAAA", "GST-2027-AAAAAA", "GST-2027-BBBBBB"])
    guests = GuestStore(dynamodb, "guests", clock, lambda _: next(numbers))  # type: ignore[arg-type]
    ada = guests.record_login("sub-1", email="ada@example.com", name="Ada")
    bob = guests.record_login("sub-2", email="bob@example.com", name="Bob")
    assert (ada.guest_id, bob.guest_id) == ("GST-2027-AAAAAA", "GST-2027-BBBBBB")
    assert guests.find("sub-1") == ada
    assert guests.find("sub-2") == bob


def test_t40_guests_at_once_have_different_numbers(dynamodb: FakeDynamoDb, clock: Clock) -> None:
    """T40: as many numbers as guests, and all draw them in the same order."""
    all_at_once = threading.Barrier(5)

    def first_sign_in(guest: int) -> str:
        numbers = iter([f"GST-2027-{number:06}" for number in range(5)])
        guests = GuestStore(dynamodb, "guests", clock, lambda _: next(numbers))  # type: ignore[arg-type]
        all_at_once.wait(30)
        return guests.record_login(f"sub-{guest}", email="a@example.com", name="").guest_id

    with ThreadPoolExecutor(5) as pool:
        given = list(pool.map(first_sign_in, range(5)))
    assert len(set(given)) == 5


def test_t40_first_sign_ins_that_both_claim_make_one_guest(
    dynamodb: FakeDynamoDb, clock: Clock
) -> None:
    """T40: neither has a record as both draw; the number of the one that loses stays claimed."""
    both_draw = threading.Barrier(2)

    def first_sign_in(number: str) -> str:
        def draw(_now: int) -> str:
            both_draw.wait(30)
            return number

        guests = GuestStore(dynamodb, "guests", clock, draw)  # type: ignore[arg-type]
        return guests.record_login("sub-1", email="ada@example.com", name="Ada").guest_id

    numbers = ["GST-2027-AAAAAA", "GST-2027-BBBBBB"]
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(first_sign_in, numbers)
    assert one == other
    assert dynamodb.items.keys() == {"sub-1", *(f"guest_id#{number}" for number in numbers)}


def test_t40_returning_guest_costs_one_write_and_draws_no_number(
    guests: GuestStore, dynamodb: FakeDynamoDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = guests.record_login("sub-1", email="ada@example.com", name="Ada")
    writes = Mock(wraps=dynamodb.update_item)
    monkeypatch.setattr(dynamodb, "update_item", writes)
    assert guests.record_login("sub-1", email="ada@example.com", name="Ada") == ada
    assert writes.call_count == 1
    assert len(dynamodb.items) == 2


def test_t40_no_number_is_given_where_all_are_taken(dynamodb: FakeDynamoDb, clock: Clock) -> None:
    guests = GuestStore(dynamodb, "guests", clock, lambda _: "GST-2027-AAAAAA")  # type: ignore[arg-type]
    guests.record_login("sub-1", email="ada@example.com", name="Ada")
    with pytest.raises(RuntimeError, match="were taken"):
        guests.record_login("sub-2", email="bob@example.com", name="Bob")
    assert guests.find("sub-2") is None


def test_t40_claimed_number_is_no_guest(guests: GuestStore) -> None:
    ada = guests.record_login("sub-1", email="ada@example.com", name="Ada")
    assert guests.find(f"guest_id#{ada.guest_id}") is None
