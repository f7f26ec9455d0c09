"""The challenge: how a code is derived, typed and compared."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.email_otp.challenge import (
    UNANSWERABLE,
    Challenge,
    address_digest,
    normalize_answer,
)
from lambdas.email_otp.code_key import CodeKey
from tests.support.triggers import KEY, UNREADABLE_METADATA


def _challenge(*, digits: int = 6, key: CodeKey = KEY) -> Challenge:
    return Challenge.new(key, address="ada@example.com", issued_at=1000, digits=digits, attempts=3)


FIXED = Challenge(
    id="00000000000000000000000000000001",
    issued_at=1000,
    digits=6,
    max_attempts=3,
    key_version="v1",
    address_digest="6a5f20711029d0a30c36e1bcd917678469d4b1c02c1256f78eb2f2b41723103d",
    nonce="00000000000000000000000000000002",
)
"""One whose code begins with zeros: 006379."""


def test_code_and_address_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes | str] = []

    def compare(one: Any, other: Any) -> bool:
        compared.append(one)
        return bool(one == other)

    monkeypatch.setattr("lambdas.email_otp.challenge.hmac.compare_digest", compare)
    assert FIXED.is_answered_by("006379", KEY, "sub")
    FIXED.was_mailed_to("ada@example.com", KEY)
    assert compared == [b"006379", FIXED.address_digest]


@given(st.integers(6, 10))
def test_code_has_exactly_its_digits(digits: int) -> None:
    code = _challenge(digits=digits).code(KEY, "sub")
    assert len(code) == digits
    assert code.isascii()
    assert code.isdigit()


def test_code_depends_on_the_key_the_user_and_the_challenge() -> None:
    """T05: a code says nothing about another user's or another challenge's."""
    challenge = _challenge(digits=10)
    others = {
        challenge.code(CodeKey(version="v1", secret=b"other"), "sub"),
        challenge.code(KEY, "other"),
        _challenge(digits=10).code(KEY, "sub"),
    }
    assert challenge.code(KEY, "sub") not in others
    assert challenge.code(KEY, "sub") == challenge.code(KEY, "sub")


def test_codes_still_out_survive_a_new_version_of_the_triggers() -> None:
    """Create and Verify are not replaced at the same moment: what they derive stays the same."""
    assert FIXED.code(KEY, "sub") == "006379"
    assert FIXED.was_mailed_to("ada@example.com", KEY)


def test_challenge_and_nonce_are_128_fresh_bits() -> None:
    challenges = [_challenge() for _ in range(2)]
    values = {value for each in challenges for value in (each.id, each.nonce)}
    assert len(values) == 4
    assert all(len(bytes.fromhex(value)) == 16 for value in values)


def test_leading_zeros_are_part_of_the_code() -> None:
    """T08."""
    assert FIXED.is_answered_by("006379", KEY, "sub")
    assert not FIXED.is_answered_by("6379", KEY, "sub")
    assert not FIXED.is_answered_by("0006379", KEY, "sub")


@pytest.mark.parametrize(
    "typed",
    [
        "123456",
        "123 456",
        " 1 2 3 4 5 6 ",
        "123-456",
        "123\u2013456",
        "123\u00a0456",
        "123456\r\n",
        "\uff11\uff12\uff13\uff14\uff15\uff16",
        "\u0661\u0662\u0663\u0664\u0665\u0666",
        "\u09672\u0969456",
    ],
)
def test_a_code_may_be_typed_in_many_forms(typed: str) -> None:
    """T08: spaces, hyphens, full-width, Arabic and other digits."""
    assert normalize_answer(typed) == "123456"


@pytest.mark.parametrize(
    "unseen",
    [*"\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad\u202a\u202c\u2066\u2069\u180e\U000e0001"],
)
def test_characters_that_nobody_sees_are_no_part_of_an_answer(unseen: str) -> None:
    """T08: zero-width spaces, direction marks, soft hyphens and the like, wherever they are."""
    assert normalize_answer(f"{unseen}123456{unseen}") == "123456"
    assert normalize_answer(f"123{unseen}456") == "123456"
    assert normalize_answer("".join(digit + unseen for digit in "123456")) == "123456"
    assert normalize_answer(unseen) == ""


def test_length_of_an_answer_counts_what_was_typed() -> None:
    """T08: 16 digits with three unseen characters beside each are within it."""
    digits = "0123456789012345"
    assert normalize_answer("".join(f"\u2060{digit}\u200b\ufeff" for digit in digits)) == digits
    assert normalize_answer("123456" + "\u200b" * 59) == ""


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        "-",
        "12345\x00",
        "\x00",
        "12345a",
        "12345\u00b2",
        "\u2460\u2461\u2462\u2463\u2464\u2465",
        "+123456",
        "123.456",
        "1" * 65,
        "1" * 10_000_000,
        None,
        123456,
        123456.0,
        True,
        ["123456"],
        {"code": "123456"},
        b"123456",
    ],
    ids=lambda typed: repr(typed)[:20],
)
def test_what_cannot_be_a_code_becomes_nothing(typed: object) -> None:
    """T08: empty, NUL, 10 MB, other characters, not a string."""
    assert normalize_answer(typed) == ""


@given(st.one_of(st.none(), st.integers(), st.text(max_size=80), st.lists(st.text())))
def test_no_answer_but_the_code_is_right(answer: object) -> None:
    """T08."""
    challenge = _challenge()
    code = challenge.code(KEY, "sub")
    assert challenge.is_answered_by(answer, KEY, "sub") == (normalize_answer(answer) == code)


@pytest.mark.parametrize("length", [0, 1, 5, 7, 10])
def test_a_code_of_another_length_is_wrong(length: int) -> None:
    """T08: wrong length."""
    challenge = _challenge()
    code = (challenge.code(KEY, "sub") * 2)[:length]
    assert not challenge.is_answered_by(code, KEY, "sub")


def test_expires_a_second_after_the_last_valid_one() -> None:
    """T06."""
    assert _challenge().expires_at(300) == 1300


def test_metadata_carries_all_of_a_challenge_and_no_code_or_address() -> None:
    challenge = _challenge(digits=10)
    metadata = challenge.to_metadata()
    assert Challenge.from_metadata(metadata) == challenge
    assert "ada@" not in metadata
    assert challenge.code(KEY, "sub") not in metadata
    assert len(metadata) < 2048


def test_unanswerable_metadata_is_no_challenge() -> None:
    assert Challenge.from_metadata(UNANSWERABLE) is None


@pytest.mark.parametrize("metadata", UNREADABLE_METADATA)
def test_foreign_metadata_is_no_challenge(metadata: object) -> None:
    """T17."""
    assert Challenge.from_metadata(metadata) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"more": 1},
        {"issued_at": "1000"},
        {"digits": 6.0},
        {"digits": True},
        {"digits": 0},
        {"digits": -1},
        {"digits": 10**9},
        {"id": None},
        {"address_digest": "\u00e9"},
        {"id": "\ud800"},
    ],
)
def test_metadata_of_another_version_is_no_challenge(changed: dict[str, object]) -> None:
    """T17: with a field more, one less, or one of another type."""
    ours = json.loads(_challenge().to_metadata())
    assert Challenge.from_metadata(json.dumps(ours)) is not None
    assert Challenge.from_metadata(json.dumps(ours | changed)) is None
    for name in ours:
        less = {each: value for each, value in ours.items() if each != name}
        assert Challenge.from_metadata(json.dumps(less)) is None


def test_a_new_nonce_keeps_the_code_and_renames_the_answer() -> None:
    challenge = _challenge()
    again = challenge.with_new_nonce()
    assert again.code(KEY, "sub") == challenge.code(KEY, "sub")
    assert again.answer_digest(KEY) != challenge.answer_digest(KEY)


def test_address_digest_is_blind_to_case_alone() -> None:
    """T13: upper case is the same address, a homoglyph is another."""
    assert address_digest(KEY, "ADA@Example.com") == address_digest(KEY, "ada@example.com")
    assert address_digest(KEY, "\u0430da@example.com") != address_digest(KEY, "ada@example.com")
