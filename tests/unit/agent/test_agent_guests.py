"""The guests' records."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.guests import GuestStore
from tests.unit.agent.fakes import NOW, Clock, FakeDynamoDb


def test_first_sign_in_makes_the_guest(guests: GuestStore) -> None:
    guest = guests.record_login("sub-1", email="ada@example.com", name="Ada")
    assert re.fullmatch(r"GST-2027-[A-Z0-9]{6}", guest.guest_id)
    assert (guest.cognito_sub, guest.email, guest.name) == ("sub-1", "ada@example.com", "Ada")
    assert guest.created_at == guest.last_login_at == NOW
    assert guests.find("sub-1") == guest


def test_next_sign_in_moves_last_login_alone(guests: GuestStore, clock: Clock) -> None:
    first = guests.record_login("sub-1", email="ada@example.com", name="Ada")
    clock.now += 60
    second = guests.record_login("sub-1", email="other@example.com", name="Eve")
    assert second.last_login_at == NOW + 60
    assert (second.guest_id, second.email, second.name, second.created_at) == (
        first.guest_id,
        "ada@example.com",
        "Ada",
        NOW,
    )


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
    """T40: in threads, with hardly more numbers than guests."""
    numbers = iter([f"GST-2027-{number % 20:06}" for number in range(1_000)] * 2)
    lock = threading.Lock()

    def new_guest_id(_now: int) -> str:
        with lock:
            return next(numbers)

    guests = GuestStore(dynamodb, "guests", clock, new_guest_id)  # type: ignore[arg-type]
    for number in range(5):
        dynamodb.items[f"guest_id#GST-2027-{number * 3:06}"] = {}
    with ThreadPoolExecutor(8) as pool:
        made = list(
            pool.map(
                lambda sub: guests.record_login(f"sub-{sub}", email="a@example.com", name=""),
                range(15),
            )
        )
    assert len({guest.guest_id for guest in made}) == 15


def test_t40_no_number_is_given_where_all_are_taken(dynamodb: FakeDynamoDb, clock: Clock) -> None:
    guests = GuestStore(dynamodb, "guests", clock, lambda _: "GST-2027-AAAAAA")  # type: ignore[arg-type]
    guests.record_login("sub-1", email="ada@example.com", name="Ada")
    with pytest.raises(RuntimeError, match="were taken"):
        guests.record_login("sub-2", email="bob@example.com", name="Bob")
    assert guests.find("sub-2") is None


def test_t40_claimed_number_is_no_guest(guests: GuestStore) -> None:
    ada = guests.record_login("sub-1", email="ada@example.com", name="Ada")
    assert guests.find(f"guest_id#{ada.guest_id}") is None
