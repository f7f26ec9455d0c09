"""Guest numbers: each is given once, decided by MiniStack's DynamoDB."""

import secrets
import uuid
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from agent.sign_in.guests import GuestStore
from tests.support.deployment import Deployment


def store(stack: Deployment, *numbers: str, drawn_by_all: Barrier | None = None) -> GuestStore:
    """Return the guests, with the numbers to draw; with a barrier, all draw at once."""
    left = iter(numbers)

    def draw(_now: int) -> str:
        if drawn_by_all:
            drawn_by_all.wait(60)
        return next(left)

    table = stack.outputs["GuestsTableName"]
    return GuestStore(stack.dynamodb, table, new_guest_id=draw)


def new_numbers(count: int) -> list[str]:
    """Return numbers that no other test has."""
    return [f"GST-2027-{secrets.token_hex(3).upper()}-{number}" for number in range(count)]


def claims(stack: Deployment, numbers: list[str]) -> list[bool]:
    """Return whether each number is claimed."""
    return [stack.guest_item(f"guest_id#{number}") != {} for number in numbers]


def test_t40_clash_takes_another_number(stack: Deployment) -> None:
    """T40: the number is claimed before; its item stays as it is, and is no guest."""
    taken, free = new_numbers(2)
    claim = {"cognito_sub": {"S": f"guest_id#{taken}"}, "claimed_at": {"N": "1"}}
    stack.dynamodb.put_item(TableName=stack.outputs["GuestsTableName"], Item=claim)
    guests = store(stack, taken, free)
    sub = str(uuid.uuid4())

    guest = guests.record_login(sub, email="ada@example.com", name="Ada")

    assert guest.guest_id == free
    assert guests.find(sub) == guest
    assert stack.guest_item(f"guest_id#{taken}") == claim
    assert guests.find(f"guest_id#{taken}") is None


def test_t40_guests_at_once_have_different_numbers(stack: Deployment) -> None:
    """T40: as many numbers as guests, and all draw them in the same order."""
    numbers = new_numbers(5)
    all_at_once = Barrier(5)

    def first_sign_in(_guest: int) -> str:
        guests = store(stack, *numbers)
        all_at_once.wait(60)
        return guests.record_login(str(uuid.uuid4()), email="a@example.com", name="").guest_id

    with ThreadPoolExecutor(5) as pool:
        given = list(pool.map(first_sign_in, range(5)))

    assert sorted(given) == sorted(numbers)


def test_t40_first_sign_ins_that_both_claim_make_one_guest(stack: Deployment) -> None:
    """T40: neither has a record as both draw; the number of the one that loses stays claimed."""
    numbers = new_numbers(2)
    both_draw = Barrier(2)
    sub = str(uuid.uuid4())

    def first_sign_in(number: str) -> str:
        guests = store(stack, number, drawn_by_all=both_draw)
        return guests.record_login(sub, email="ada@example.com", name="Ada").guest_id

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(first_sign_in, numbers)

    assert one == other
    found = store(stack).find(sub)
    assert found is not None
    assert found.guest_id == one
    assert claims(stack, numbers) == [True, True]
