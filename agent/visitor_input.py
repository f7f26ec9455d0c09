"""Reads a visitor's message: whole e-mail addresses, and codes that nobody else may see."""

import re
import secrets
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Plain ASCII addresses: SES takes no other local part, and a homoglyph is then no address.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"{_ATOM}+(?:\.{_ATOM}+)*@(?:{_LABEL}\.)+[A-Za-z]{_LABEL}")
# Tried only where a word begins, so that a long word costs no quadratic search.
_ADDRESS_IN_TEXT = re.compile(rf"(?<!{_ATOM})(?<!\.)({_ADDRESS.pattern})")
_MAX_ADDRESS_CHARS, _MAX_LOCAL_CHARS = 254, 64  # RFC 5321, section 4.5.3.1

# What ends a word that may be an address: white space, brackets, quotes, and the scripts that
# are written without spaces.
_WORD_END = re.compile(
    r"[\s<>()\[\]{},;:\"|\\\u201a-\u201f\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef]+"
)

# Keyboards that write typographic quotes put them into o'brien@example.com too.
_APOSTROPHES = str.maketrans("\u2018\u2019", "''")

# Digits of any script, with spaces, hyphens, dots and invisible characters between them;
# U+FE0F and U+20E3 make an emoji of a digit. Hebrew and Japanese keyboards and macOS have
# hyphens of their own: U+05BE, U+30FC and the minus sign U+2212.
_INVISIBLE = "\u00ad\u034f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufe00-\ufe0f\u20e3"
_BETWEEN = rf"[\s{_INVISIBLE}.,/_\u00b7\u05be\u2010-\u2015\u2212\u30fc-]"
_DIGIT_RUN = re.compile(rf"\d(?:{_BETWEEN}*+\d){{3,}}")
_CODE_ALONE = re.compile(rf"\W*\d(?:{_BETWEEN}*+\d){{5,9}}\W*")
_NOT_DIGITS = re.compile(r"\D+")


def parse_address(text: str) -> str | None:
    """Return the one address `text` consists of, lower-cased, or None if it is none."""
    # Not `casefold`, which makes another address of one with a sharp s.
    address = _plain(text).strip(" \t").lower()
    fits = len(address) <= _MAX_ADDRESS_CHARS and address.find("@") <= _MAX_LOCAL_CHARS
    return address if fits and _ADDRESS.fullmatch(address) else None


def typed_addresses(message: str) -> Iterator[str]:
    """Yield the whole addresses in a message, lower-cased; never a part of a longer word."""
    for word in _WORD_END.split(_plain(message)):
        # Quotes and emphasis count as such only where they do not make an address themselves.
        whole = parse_address(word.rstrip(".!?"))
        if address := whole or parse_address(word.strip(".!?'`*_")):
            yield address


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).translate(_APOSTROPHES)


@dataclass(frozen=True, slots=True)
class HiddenCode:
    """The digits behind one reference."""

    groups: tuple[str, ...]

    def __repr__(self) -> str:
        return "HiddenCode(...)"

    def digits(self, code_length: int) -> str:
        """Return what the visitor most likely meant as the code, as ASCII digits.

        A single group of the right length wins over all digits joined, so that "123456 12"
        is not read as an eight-digit code.
        """
        fitting = [group for group in self.groups if len(group) == code_length]
        return fitting[0] if len(fitting) == 1 else "".join(self.groups)


def is_code_alone(message: str) -> bool:
    """Whether a message is 6 to 10 digits and nothing else, as codes are."""
    return _CODE_ALONE.fullmatch(unicodedata.normalize("NFKC", message)) is not None


def hide_codes(message: str) -> tuple[str, Mapping[str, HiddenCode]]:
    """Swap every run of four or more digits for an opaque reference.

    Runs of more than ten digits are swapped too: a code may stand in them. Addresses are left
    whole, since a visitor may correct hers while a login is pending.

    Returns:
        The message after NFKC with `[code_reference: ...]` in the place of each run, and what
        each reference stands for. References are new with every call.
    """
    hidden: dict[str, HiddenCode] = {}

    def swap(run: re.Match[str]) -> str:
        groups = tuple(_ascii_digits(group) for group in _NOT_DIGITS.split(run.group()))
        return _refer_to(HiddenCode(groups), hidden)

    parts = _ADDRESS_IN_TEXT.split(unicodedata.normalize("NFKC", message))
    parts[::2] = [_DIGIT_RUN.sub(swap, part) for part in parts[::2]]
    return "".join(parts), hidden


def hide_code_field(code: str) -> tuple[str, Mapping[str, HiddenCode]]:
    """Swap the content of the code box, whatever it is, for one reference."""
    hidden: dict[str, HiddenCode] = {}
    digits = _ascii_digits(_NOT_DIGITS.sub("", unicodedata.normalize("NFKC", code)))
    return _refer_to(HiddenCode((digits,)), hidden), hidden


def _refer_to(code: HiddenCode, hidden: dict[str, HiddenCode]) -> str:
    reference = f"code-{secrets.token_urlsafe(12)}"
    hidden[reference] = code
    return f"[code_reference: {reference}]"


def _ascii_digits(digits: str) -> str:
    return "".join(str(unicodedata.decimal(digit)) for digit in digits)
