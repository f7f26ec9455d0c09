"""The guests' records."""

import re
import threading

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
    assert len(set(ids)) == len(dynamodb.items) == 1
