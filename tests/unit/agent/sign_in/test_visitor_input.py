"""What is read from a visitor's message."""
# ruff: noqa: RUF001 - characters that look alike are what is tested

import re
import time
import unicodedata
from typing import get_type_hints

import pytest

from agent.sign_in.visitor_input import (
    CODE_LENGTHS,
    LONG_CODE_DIGITS,
    AddressFault,
    address_fault,
    hide_code_field,
    hide_codes,
    parse_address,
    typed_addresses,
)
from infra.local.ministack import ROOT
from lambdas.email_otp import challenge
from lambdas.email_otp.settings import CreateSettings


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("I'm ada@example.com, show my bookings", ["ada@example.com"]),
        ("Ada.Lovelace+Trip@Mail.Example.COM.", ["ada.lovelace+trip@mail.example.com"]),
        ("<ada@example.com>; (bob@example.org)", ["ada@example.com", "bob@example.org"]),
        ("mailto:ada@example.com", ["ada@example.com"]),
        ("メールはada@example.comです", ["ada@example.com"]),
        ("ａｄａ＠ｅｘａｍｐｌｅ．ｃｏｍ", ["ada@example.com"]),
        ("*ada@example.com*, _bob@example.org_", ["ada@example.com", "bob@example.org"]),
        (
            "'ada@example.com' or \u2018bob@example.org\u2019.",
            ["ada@example.com", "bob@example.org"],
        ),
        ("I'm o\u2019brien@example.com", ["o'brien@example.com"]),
        ("o\u201bbrien@example.com", ["o'brien@example.com"]),
        ("ada@example.xn--p1ai", ["ada@example.xn--p1ai"]),
        ("_ada@example.com", ["_ada@example.com"]),
        ("**ada@example.com.** and *_bob@example.org_*!", ["ada@example.com", "bob@example.org"]),
        ("{ada@example.com} or |bob@example.org|", ["ada@example.com", "bob@example.org"]),
        ("\u00abada@example.com\u00bb", ["ada@example.com"]),
        ("'my mail is ada@example.com'", ["ada@example.com"]),
        ("no address here, ada@ or @example.com or ada@localhost", []),
        ("", []),
    ],
)
def test_whole_addresses_are_found(message: str, expected: list[str]) -> None:
    assert list(typed_addresses(message)) == expected


@pytest.mark.parametrize(
    "message",
    [
        "evil-ada@example.com",
        "ada@example.com.evil.org",
        "ada@example.community",
        "аda@example.com",  # begins with a Cyrillic letter
        "ada@example.com@evil.org",
        "_ada@example.com",
        "_ada@example.com.",
        "o\u2019ada@example.com",
        *(f"{mark}ada@example.com" for mark in ".!#$%&'*+-/=?^_`{|}~"),
        *(
            f"{mark}ada@example.com"
            for mark in ("x.", "..", "\uff0e", "\u2024", "\u2026", "'.", "*.")
        ),
        "'.ada@example.com'",
        "(.ada@example.com)",
        "*.ada@example.com*",
        "x|ada@example.com|",
    ],
)
def test_t13_t18_part_of_a_longer_word_is_no_address(message: str) -> None:
    assert "ada@example.com" not in list(typed_addresses(message))


@pytest.mark.parametrize("sign", "\u2460\u2488\u2474\u2122\u00b9\u338f\ufb01\u212a\u017f")
def test_t13_sign_that_shows_more_than_a_character_is_no_part_of_an_address(sign: str) -> None:
    for text in (f"{sign}ada@example.com", f"ada{sign}@example.com", f"ada@{sign}example.com"):
        assert parse_address(text) is None
        assert not list(typed_addresses(text))


@pytest.mark.parametrize("form", "\uff41\U0001d41a\U0001d4b6\U0001d68a")
def test_other_forms_of_one_letter_are_read(form: str) -> None:
    assert parse_address(f"{form}da@example.com") == "ada@example.com"


def test_blank_of_any_kind_beside_an_address_is_left_out() -> None:
    assert parse_address("\u00a0ada@example.com\u2003") == "ada@example.com"


def test_t37_encircled_code_before_an_address_is_hidden() -> None:
    message = "\u2463\u24ea\u2466\u2460\u2468\u2462ada@example.com"
    shown, hidden = hide_codes(message, code_is_out=False)
    ((reference, held),) = hidden.items()
    assert shown == f"[code_reference: {reference}]ada@example.com"
    assert held.digits(6) == "407193"


def test_t38_message_of_marks_alone_takes_no_time_that_grows_with_its_square() -> None:
    """Not one with an accent either; hundreds would take minutes."""
    for _ in range(100):
        assert not list(typed_addresses("*" * 3_990 + "\u00e9@" + "*" * 3_990))
        assert not list(typed_addresses(("*" * 100 + "\u00e9@" + "*" * 100 + " ") * 39))


@pytest.mark.parametrize("unseen", "\u200b\u200e\u2060\ufeff\u00ad\u202a")
def test_t13_what_is_not_seen_is_dropped_from_an_address(unseen: str) -> None:
    for text in (
        f"{unseen}ada@example.com",
        f"ada@example.com{unseen}",
        f"a{unseen}da@exa{unseen}mple{unseen}.com",
    ):
        assert parse_address(text) == "ada@example.com"
        assert list(typed_addresses(f"My mail: {text}.")) == ["ada@example.com"]


def test_t13_digits_of_an_address_with_something_unseen_in_it_stay() -> None:
    message = "ada\u200b19841984@exam\u2060ple.com"
    assert hide_codes(message, code_is_out=True) == (message, {})
    shown, hidden = hide_codes(f"{message}: 123\u200b456", code_is_out=True)
    assert shown == f"{message}: [code_reference: {next(iter(hidden))}]"


@pytest.mark.parametrize("code_is_out", [True, False])
def test_t08_code_before_an_address_is_hidden_though_only_something_unseen_parts_them(
    code_is_out: bool,
) -> None:
    shown, hidden = hide_codes("123456\u200bada84@example.com", code_is_out=code_is_out)
    ((reference, held),) = hidden.items()
    assert shown == f"[code_reference: {reference}]ada84@example.com"
    assert held.digits(6) == "123456"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("foo.@docomo.ne.jp", AddressFault.DOTS),
        (".foo@ezweb.ne.jp", AddressFault.DOTS),
        ("foo..bar@docomo.ne.jp", AddressFault.DOTS),
        ("ada@b\u00fccher.example", AddressFault.DOMAIN),
        ("ada@\u4f8b\u3048.jp", AddressFault.DOMAIN),
        ("ad\u00e4@example.com", AddressFault.NAME),
        ("\u0430da@example.com", AddressFault.NAME),
        (f"{'a' * 65}@example.com", AddressFault.LENGTH),
        ("ada@", None),
        ("ada@localhost", None),
        ("ada@example.c0m", None),
        ("Ada <ada@example.com>", None),
        ("mailto:.ada@example.com", None),
        ("Lovelace,ada@example.com", AddressFault.NOT_ALONE),
        ("ada@example.com(work)", AddressFault.NOT_ALONE),
        ("ada@example.com\u060c", AddressFault.NOT_ALONE),
        ("ada@example.com\u2026", AddressFault.NOT_ALONE),
        ("john,doe@", None),
        ("ada@b@example.com", None),
        ("", None),
    ],
)
def test_what_is_wrong_with_an_address_is_told(text: str, fault: AddressFault | None) -> None:
    assert parse_address(text) is None
    assert address_fault(text) is fault


def test_domain_in_the_form_that_the_fault_names_works() -> None:
    form, domain = re.findall(r"[\w-]+\.example", AddressFault.DOMAIN)
    assert domain.encode("idna").decode() == form
    assert parse_address(f"ada@{form}") == f"ada@{form}"


@pytest.mark.parametrize(
    "text",
    [
        "ada@example.com\r\nBcc: bob@example.com",
        "ada@example.com,bob@example.com",
        "Ada <ada@example.com>",
        '"ada b"@example.com',
        "ada@exämple.com",
        "ada@straße.example.com",
        "großmann@example.com",
        "ada..b@example.com",
        ".ada@example.com",
        "ada@-example.com",
        "ada@example.c0m",
        "ada@example.c",
        "ada@example.xn--",
        "ada@example",
        f"{'a' * 65}@example.com",
        f"ada@{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 60}.example.com",
        "ada@example.com\x00",
    ],
)
def test_t13_only_a_plain_address_is_parsed(text: str) -> None:
    assert parse_address(text) is None


@pytest.mark.parametrize(
    "text",
    [f"{'a' * 64}@example.com", f"ada@{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 60}.example"[:254]],
)
def test_longest_addresses_are_parsed(text: str) -> None:
    assert parse_address(text) == text


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("123456", "123456"),
        ("It's 007 123, thanks", "007123"),
        ("12-34-56", "123456"),
        ("1 2 3 4 5 6", "123456"),
        ("１２３４５６", "123456"),
        ("١٢٣٤٥٦", "123456"),
        ("①②③④⑤⑥", "123456"),
        ("123\u00a0456", "123456"),
        ("123\u2013456", "123456"),
        ("123\u2212456", "123456"),
        ("603.920", "603920"),
        ("1.2.3.4.5.6", "123456"),
        ("1, 2, 3, 4, 5, 6", "123456"),
        ("123_456", "123456"),
        ("123/456", "123456"),
        ("12\u00b734\u00b756", "123456"),
        ("１２３ー４５６", "123456"),
        ("123  -  456", "123456"),
        ("1\r\n\r\n2\r\n\r\n3456", "123456"),
        ("12\u200b3456", "123456"),
        ("\u202a123\u202c\u200e456", "123456"),
        ("\u20661\u2069\u206623456", "123456"),
        ("1\ufe0f\u20e3 2\ufe0f\u20e3 3456", "123456"),
        ("code:123456!", "123456"),
        ("x123456y", "123456"),
        ("123456 12 May", "123456"),
    ],
)
def test_t08_code_is_swapped_however_it_is_written(message: str, code: str) -> None:
    shown, hidden = hide_codes(message, code_is_out=True)
    ((reference, held),) = hidden.items()
    assert f"[code_reference: {reference}]" in shown
    assert held.digits(6) == code
    assert not any(c.isdigit() for c in shown.replace(reference, ""))


def test_text_around_a_code_stays() -> None:
    shown, hidden = hide_codes("My code is 123456, room 12.", code_is_out=True)
    assert shown == f"My code is [code_reference: {next(iter(hidden))}], room ##."


def test_four_digits_are_swapped() -> None:
    shown, hidden = hide_codes("It is 1234", code_is_out=True)
    assert "1234" not in shown
    assert len(hidden) == 1


def test_two_codes_of_one_run_are_not_guessed_from() -> None:
    _, hidden = hide_codes("123456 654321", code_is_out=True)
    (held,) = hidden.values()
    assert held.digits(6) == "123456654321"


def test_longer_runs_are_swapped_too() -> None:
    shown, hidden = hide_codes("015123456789 123456", code_is_out=True)
    assert "123456" not in shown
    assert len(hidden) == 1


@pytest.mark.parametrize("message", ["room 12", "12 May to 14 May", "3 nights, 2 guests", ""])
def test_short_numbers_stay(message: str) -> None:
    assert hide_codes(message, code_is_out=True) == (message, {})


def test_addresses_with_digits_stay_whole() -> None:
    shown, hidden = hide_codes("It is ada1984@example.com, code 123456", code_is_out=True)
    assert "ada1984@example.com" in shown
    assert len(hidden) == 1


def test_references_differ_every_time() -> None:
    assert hide_codes("123456", code_is_out=True)[0] != hide_codes("123456", code_is_out=True)[0]


def test_hidden_code_prints_without_digits() -> None:
    _, hidden = hide_codes("123456", code_is_out=True)
    assert "123456" not in repr(hidden)


@pytest.mark.parametrize(
    ("code", "digits"),
    [("123456", "123456"), (" 123-456 ", "123456"), ("abc", ""), ("1\x002", "12"), ("²", "2")],
)
def test_t08_code_field_becomes_one_reference(code: str, digits: str) -> None:
    shown, hidden = hide_code_field(code)
    ((reference, held),) = hidden.items()
    assert shown == f"[code_reference: {reference}]"
    assert held.digits(6) == digits


@pytest.mark.parametrize(
    "piece",
    [
        *["a", "1", "a.", "1 ", "1" + " " * 999, "@", "a@", "[code_reference: "],
        *["*", "<", "a:", "*:", "a<", "\\_", "a@b.co,", "<a@b.co>", "a@b.co:", "\u3001", "\u30fc"],
    ],
)
def test_long_messages_are_read_quickly(piece: str) -> None:
    message = piece * (32_000 // len(piece))
    started = time.perf_counter()
    hide_codes(message, code_is_out=True)
    list(typed_addresses(message))
    assert time.perf_counter() - started < 1  # seconds; a quadratic search takes many


# Each holds the code 407193, whatever the visitor did with it.
PASTED_MAIL = """> Your sign-in code for Harbour Inn:
>
> 407193
>
> It is valid for 5 minutes. Sent on 24 November 2026, 10:32 UTC."""
IN_PIECES = [
    "407:193",
    "(407) (193)",
    "407+193",
    "**407** **193**",
    "407 and 193",
    "> 407\n> 193",
    "- 407\n- 193",
    '"40" "71" "93"',
    "4 then 0 then 7 then 1 then 9 then 3",
    *(f"407{between}193" for between in "\u180e\u3164\u2800\U000e0100\u0301\u200b\u00ad\x00"),
    "\u0301".join("407193"),
    "\u2463\u24ea\u2466\u2460\u2468\u2462",
    PASTED_MAIL,
]


@pytest.mark.parametrize("message", IN_PIECES)
def test_t37_no_digit_of_a_code_is_shown_while_it_is_out(message: str) -> None:
    shown, hidden = hide_codes(message, code_is_out=True)
    ((reference, held),) = hidden.items()
    assert held.digits(6) == "407193"
    assert not any(c.isdigit() for c in shown.replace(reference, ""))


@pytest.mark.parametrize(
    "message", ["407", "It begins with 407", "193.", "x407y", "4-0-7", "\u2779\u2778\u2777"]
)
def test_t37_a_part_of_three_digits_is_hidden_while_a_code_is_out(message: str) -> None:
    shown, hidden = hide_codes(message, code_is_out=True)
    (reference,) = hidden
    assert not any(unicodedata.digit(c, None) is not None for c in shown.replace(reference, ""))


@pytest.mark.parametrize(
    "message",
    [
        "My code is 407193",
        "407 193",
        "407-193",
        "40.71.93",
        "4 0 7 1 9 3",
        "407\u180e193",
        "407\u0903193",
        "4 0 7  1 9 3",
        "Room 12 is taken, June 3 407-193",
        "2-407 193",
        "407\n\n193",
        "407193.20 people are coming",
        "4 0 7\t\t1 9 3",
        "407--193",
        "4\u03010\u03017\u03011\u03019\u03013",
        "\uff14\uff10\uff17\uff11\uff19\uff13",
        PASTED_MAIL,
    ],
)
def test_t37_a_code_is_hidden_though_no_login_is_known(message: str) -> None:
    shown, hidden = hide_codes(message, code_is_out=False)
    ((reference, held),) = hidden.items()
    assert held.digits(6) == "407193"
    assert "407" not in shown.replace(reference, "")
    assert "193" not in shown.replace(reference, "")


def test_t37_a_code_on_a_line_below_a_longer_number_is_hidden() -> None:
    """T37: though no login is known."""
    shown, hidden = hide_codes("0171 234 5678\r\n407 193", code_is_out=False)
    ((reference, held),) = hidden.items()
    assert shown == f"0171 234 5678\r\n[code_reference: {reference}]"
    assert held.digits(6) == "407193"


@pytest.mark.parametrize(
    "message",
    [
        "40.71.9328",
        "4071-93-28",
        "2071 93",
        "40 2071",
        "2071 1 2 3",
        "100-150",
        "407.193",
        "12.5.671",
        "12 11 10",
        "0171 4567 8901 407193",
        "4071 12",
        "2071 39",
    ],
)
def test_t37_a_code_that_is_no_likely_date_or_price_is_hidden(message: str) -> None:
    shown, hidden = hide_codes(message, code_is_out=False)
    assert shown == f"[code_reference: {next(iter(hidden))}]"


@pytest.mark.parametrize("message", ["407193407193", "407193 407193", "407 193 407 193"])
def test_t37_a_code_that_was_pasted_twice_is_hidden(message: str) -> None:
    shown, hidden = hide_codes(message, code_is_out=False)
    assert shown == f"[code_reference: {next(iter(hidden))}]"


def test_numbers_on_lines_of_their_own_are_not_read_on() -> None:
    message = "0171 234 5678\n12 May to 14 May"
    assert hide_codes(message, code_is_out=False) == (message, {})


@pytest.mark.parametrize("between", ["", "-", "/", "?", "|"])
@pytest.mark.parametrize("code_is_out", [True, False])
def test_t37_a_code_that_touches_an_address_is_hidden(between: str, *, code_is_out: bool) -> None:
    """T37: no top-level domain has a digit, but for those in their xn-- form."""
    shown, hidden = hide_codes(f"ada@example.com{between}407193", code_is_out=code_is_out)
    assert shown == f"ada@example.com{between}[code_reference: {next(iter(hidden))}]"


def test_t37_reference_stands_for_the_longest_part() -> None:
    shown, hidden = hide_codes("407 or 1234", code_is_out=True)
    assert shown == f"### or [code_reference: {next(iter(hidden))}]"


def test_many_codes_are_not_guessed_from() -> None:
    """A code of another length than the one that was mailed costs no attempt."""
    message = "1) 407193 2) 111111 3) 222222 4) 333333"
    (held,) = hide_codes(message, code_is_out=True)[1].values()
    assert len(held.digits(6)) != 6


@pytest.mark.parametrize("digits", ["4071933602581147"[:length] for length in CODE_LENGTHS])
def test_t37_codes_of_every_length_are_hidden(digits: str) -> None:
    shown, hidden = hide_codes(f"It is {digits}!", code_is_out=False)
    ((reference, held),) = hidden.items()
    assert shown == f"It is [code_reference: {reference}]!"
    assert held.digits(len(digits)) == digits


def test_lengths_are_those_of_the_triggers_codes_and_the_pages() -> None:
    hint = get_type_hints(CreateSettings, include_extras=True)["code_length"]
    (setting,) = hint.__metadata__
    assert challenge.LONG_CODE_DIGITS == LONG_CODE_DIGITS
    assert (*range(setting.low, setting.high + 1), LONG_CODE_DIGITS) == CODE_LENGTHS
    page = ROOT / "agent" / "web" / "src" / "digits.ts"
    assert f"LONG_CODE_DIGITS = {LONG_CODE_DIGITS};" in page.read_text("utf-8")


PASTED_LONG_MAIL = """> Your sign-in code for Harbour Inn:
>
> 4071 9336 0258 1147
>
> It is valid for 5 minutes. Sent on 24 November 2026, 10:32 UTC."""
_LONG_CODES = [
    "4071 9336 0258 1147",
    "4071-9336-0258-1147",
    "4071\u20119336\u20110258\u20111147",
    "4071.9336.0258.1147",
    "4071933602581147",
    "40719336 02581147",
    "4071 9336  0258\t1147",
    "4071 9336\n0258 1147",
    "4071 9336 0258\r\n1147",
    "407193360258\n1147",
    "4071-9336 0258-1147",
    "4 0 7 1 9 3 3 6 0 2 5 8 1 1 4 7",
    "\uff14\uff10\uff17\uff11\u3000\uff19\uff13\uff13\uff16 \uff10\uff12\uff15\uff18 1147",
    "\u202a4071 9336\u00a00258 11\u200b47\u202c",
]


@pytest.mark.parametrize("code_is_out", [True, False])
@pytest.mark.parametrize(
    "message",
    [
        *_LONG_CODES,
        *(f"It's {code}, thanks" for code in _LONG_CODES),
        "4071 9336 0258 1147\n4071 9336 0258 1147",
        PASTED_LONG_MAIL,
    ],
)
@pytest.mark.parametrize("code_length", [6, 8, 16])
def test_t37_no_digit_of_a_long_code_is_shown(
    message: str, code_is_out: bool, code_length: int
) -> None:
    """T37: and it is read, though the chat waits for a shorter one of before."""
    shown, hidden = hide_codes(message, code_is_out=code_is_out)
    ((reference, held),) = hidden.items()
    assert held.digits(code_length) == "4071933602581147"
    for part in ("4071", "9336", "0258", "1147"):
        assert part not in unicodedata.normalize("NFKC", shown.replace(reference, ""))


def test_t37_long_code_among_other_numbers_is_hidden_though_no_login_is_known() -> None:
    shown, hidden = hide_codes("12 4071 9336 0258 1147 2", code_is_out=False)
    ((reference, held),) = hidden.items()
    assert shown == f"12 [code_reference: {reference}] 2"
    assert held.digits(16) == "4071933602581147"


@pytest.mark.parametrize(
    "message", ["4071 9336:0258:1147", "> 4071 9336 0258\n> 1147", "4071 9336 0258 1147 again"]
)
def test_t37_no_digit_of_a_long_code_is_shown_while_it_is_out(message: str) -> None:
    shown, hidden = hide_codes(message, code_is_out=True)
    ((reference, held),) = hidden.items()
    assert held.digits(16) == "4071933602581147"
    assert not any(c.isdigit() for c in shown.replace(reference, ""))


def test_code_pasted_twice_is_told_from_a_long_one_by_its_length() -> None:
    for message in ("1234567812345678", "1234 5678 1234 5678", "12345678\n12345678"):
        (held,) = hide_codes(message, code_is_out=True)[1].values()
        assert held.digits(8) == "12345678"
        assert held.digits(16) == "1234567812345678"


@pytest.mark.parametrize("written", ["4071 9336 0258 1147", "4071-9336-0258-1147"])
def test_code_field_takes_a_long_code_in_groups(written: str) -> None:
    (held,) = hide_code_field(written)[1].values()
    assert held.digits(16) == held.digits(6) == "4071933602581147"


@pytest.mark.parametrize(
    "message",
    [
        "A room for 2 from 12.05.2026 to 14.05.2026, please",
        "2026-05-12 to 2026-05-14, 2 adults, 1 child",
        "June 12-14, 2026, about 10:30",
        "Is there a room for June 15 2026?",
        "12 May 2026 14 May 2026",
        "12-05-2026, 2026-5-12, 2026.05.12, 12 05 2026",
        "12-15.05.2026 or 12 - 15.05.2026",
        "in 05.2026, 2026-05 or in winter 2026-2027",
        "May 15 2026 2 adults",
        "At most 1200.50 euros",
        "born 12.05.1984, 31.05.2026, 30-12-2026",
        "12-05-2026 - 14-05-2026 or 2026-05-12 - 2026-05-14",
        "2024 2025 2026 2027",
        "407,193 guests",
        "407/193",
        "room 12345",
        "+44 20 7946 0958",
        "1984ada30@example.com",
    ],
)
def test_dates_and_other_numbers_stay_while_no_login_is_known(message: str) -> None:
    assert hide_codes(message, code_is_out=False) == (message, {})


@pytest.mark.parametrize("piece", ["\ufdfa", "1a", "1 ", "\u2469a", "12.05.2026 ", "407193x"])
@pytest.mark.parametrize("code_is_out", [True, False])
def test_t39_no_message_grows_by_more_than_its_references(piece: str, code_is_out: bool) -> None:
    message = piece * (8_000 // len(piece))
    shown, _ = hide_codes(message, code_is_out=code_is_out)
    assert len(shown) < len(message) + 120


def test_t37_encircled_numbers_count_as_the_digits_they_show() -> None:
    shown, hidden = hide_codes("\u2469 and \u246a and \u246b", code_is_out=True)
    ((reference, held),) = hidden.items()
    assert shown == f"[code_reference: {reference}] and # and #"
    assert held.digits(6) == "101112"


@pytest.mark.parametrize("between", "\t\r\n\u3000\u306f\u4e2d\uac00")
def test_address_ends_where_a_word_does(between: str) -> None:
    assert list(typed_addresses(f"a{between}ada@example.com{between}b")) == ["ada@example.com"]


_MARKS = '<>()[],;:"\u201a\u201c\u201d\u201e\u3001\u3002\uff0c\uff1a\uff61\u00b7\u2022\u060c'
_END_MARKS = "\u2010\u2013\u2014\u2025\u2026\u203c\u203f"


@pytest.mark.parametrize("mark", _MARKS)
def test_marks_around_an_address_are_left_out(mark: str) -> None:
    assert list(typed_addresses(f"{mark}ada@example.com{mark}")) == ["ada@example.com"]


@pytest.mark.parametrize("mark", [*_END_MARKS, *"\u060c\u061f\u0964\u1363.!?", "?!", "),"])
def test_marks_after_an_address_are_left_out(mark: str) -> None:
    assert list(typed_addresses(f"ada@example.com{mark}")) == ["ada@example.com"]


@pytest.mark.parametrize("mark", [*_MARKS, *_END_MARKS, "\\", "\u30fc", "(x)", "(.)", "<>"])
def test_t13_mark_within_a_word_makes_no_two_of_it(mark: str) -> None:
    assert not list(typed_addresses(f"john{mark}doe@example.com"))
    assert not list(typed_addresses(f"doe@example.com{mark}uk"))
    assert "doe@example.co" not in typed_addresses(f"<doe@example.co{mark}.uk>")


@pytest.mark.parametrize("mark", _END_MARKS)
def test_t13_mark_that_may_be_dots_or_a_hyphen_begins_no_address(mark: str) -> None:
    assert not list(typed_addresses(f"{mark}ada@example.com"))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("Email:ada@example.com", ["ada@example.com"]),
        ("\u30e1\u30fc\u30eb\uff08E-Mail\uff09\uff1aada@example.com", ["ada@example.com"]),
        ("Name:ada@example.com", []),
        ("E-Mail:john:doe@example.com", []),
        ("mailto:john\uff1adoe@example.com", []),
        ('{"email":"john:doe@example.com"}', []),
        ('{"name":"Ada","email":"ada@example.com"}', ["ada@example.com"]),
        ("Adresse:ada@example.com", ["ada@example.com"]),
        ("\u043f\u043e\u0447\u0442\u0430:ada@example.com", ["ada@example.com"]),
        ("<mailto:ada@example.com>", ["ada@example.com"]),
        ("Ada<ada@example.com>,", ["ada@example.com"]),
        ('"Lovelace,Ada"<ada@example.com>', ["ada@example.com"]),
        ("Ada<ada@example.com", []),
        ("https://ada:pass@example.com", []),
        ("[ada@example.com](mailto:bob@example.org)", ["ada@example.com", "bob@example.org"]),
        ("ada@example.com,bob@example.org", ["ada@example.com", "bob@example.org"]),
        ("'ada@example.com',_bob@example.org;", ["ada@example.com", "_bob@example.org"]),
        ("ada@example.com,bob", []),
        ("{'email':'ada@example.com'}", ["ada@example.com"]),
        ('{"email":"ada@example.com"},', ["ada@example.com"]),
        ("**<ada@example.com>**", ["ada@example.com"]),
        ("**E-Mail:**ada@example.com", []),
        ("**ada@example.com*", []),
        ("'ada@example.com", []),
        ("\u306f\u3044\u3001ada@example.com\u3067\u3059\u3002", ["ada@example.com"]),
        ("\u30e1\u30fc\u30e9\u30fcada@example.com", ["ada@example.com"]),
    ],
)
def test_t13_word_is_read_as_addresses_labels_and_marks_or_not_at_all(
    word: str, expected: list[str]
) -> None:
    assert list(typed_addresses(word)) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (r"john\_doe@example.com", ["john_doe@example.com"]),
        (r"ada@example.com\.uk", ["ada@example.com.uk"]),
        (r"\<ada@example.com\>", ["ada@example.com"]),
        (r"\nada@example.com", []),
        (r"ada@example.com\n", []),
    ],
)
def test_backslash_of_markdown_is_undone(word: str, expected: list[str]) -> None:
    assert list(typed_addresses(word)) == expected


_HYPHENS = "-\u05be\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u30fc"
_UNSEEN = "\u200b\u0301\u20dd\u0903\u115f\u1160\u2800\u3164\uffa0"


@pytest.mark.parametrize("between", [" ", "\n", "\r\n", " - ", *_HYPHENS, *_UNSEEN, *".,/_\u00b7"])
def test_code_beside_another_number_is_found(between: str) -> None:
    (held,) = hide_codes(f"407{between}193 for room 12", code_is_out=True)[1].values()
    assert held.digits(6) == "407193"


@pytest.mark.parametrize(
    "between", [" ", "  ", "\n", " \n \n ", " - ", *_HYPHENS, *_UNSEEN, *"._\u00b7"]
)
def test_t37_code_is_hidden_whatever_is_between_though_no_login_is_known(between: str) -> None:
    shown, hidden = hide_codes(f"It is 407{between}193!", code_is_out=False)
    assert shown == f"It is [code_reference: {next(iter(hidden))}]!"


def test_code_pasted_twice_is_one() -> None:
    (held,) = hide_codes("407193 407193 for room 12345", code_is_out=True)[1].values()
    assert held.digits(6) == "407193"


def test_ligatures_move_no_code_out_of_sight() -> None:
    message = "\ufdfa ada@example.com 407193"
    shown, hidden = hide_codes(message, code_is_out=False)
    assert shown == message.replace("407193", f"[code_reference: {next(iter(hidden))}]")


@pytest.mark.parametrize("codes", [["407193", "65 43 21"], ["407193", "654-321", "111222"]])
def test_each_of_two_or_three_codes_has_a_reference_in_its_place(codes: list[str]) -> None:
    shown, hidden = hide_codes(" or ".join(codes), code_is_out=True)
    references = [part.removeprefix("[code_reference: ")[:-1] for part in shown.split(" or ")]
    expected = [code.replace(" ", "").replace("-", "") for code in codes]
    assert [hidden[reference].digits(6) for reference in references] == expected


@pytest.mark.parametrize("rest", ["Sent on 24 November, 10:32", "not 111111, 222222 or 333333"])
def test_line_of_its_own_wins(rest: str) -> None:
    (held,) = hide_codes(f"407193\n{rest}", code_is_out=True)[1].values()
    assert held.digits(6) == "407193"
