"""Reads a visitor's message: whole e-mail addresses, and codes that nobody else may see."""

import re
import secrets
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import groupby, pairwise

# Plain ASCII addresses: SES takes no other local part, and a homoglyph is then no address.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`~-]"  # of RFC 5322's without the braces and the bar
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_TOP_LEVEL = r"(?:[xX][nN]--[A-Za-z0-9-]{0,58}[A-Za-z0-9]|[A-Za-z]{2,63})"
_ADDRESS = re.compile(rf"{_ATOM}+(?:\.{_ATOM}+)*@(?:{_LABEL}\.)+{_TOP_LEVEL}")
_LETTERS_AND_SIGNS = re.compile(rf"(?:{_ATOM}|\.)+")
# Tried only where a word begins, so that a long word costs no quadratic search.
_ADDRESS_IN_TEXT = re.compile(rf"(?<!{_ATOM})(?<!\.)({_ADDRESS.pattern})")
_MAX_ADDRESS_CHARS, _MAX_LOCAL_CHARS = 254, 64  # RFC 5321, section 4.5.3.1

# A word ends at white space and in the scripts that are written without spaces. Their long vowel
# sign is a hyphen where it follows no letter of theirs.
_WORD_END = re.compile(r"(?:[\s\u3000-\u30fb\u30fd-\u30ff\u3400-\u9fff\uac00-\ud7af]\u30fc*)+")
_MARKS = r"<>()\[\],;:\""  # no part of an address; marks of other scripts are read as a semicolon
_END_MARK = "\u2026"  # may be meant as dots or a hyphen, so it only ends an address
# Quotes, braces and emphasis may begin an address as well: they count as such only in pairs.
_PAIRED = "'`*_~{|"
_CLOSING = rf"[{_MARKS}{_PAIRED}}}.!?{_END_MARK}]*"
# A word is read as such items only: of one in which anything else stands, a part would be mailed.
_ITEM = re.compile(
    r"(?:(?P<label>(?>[^@/]*:))|[^@<]*+(?=<[^@<>]*@[^@<>]*>))?"  # `E-Mail:` or `Ada<...@...>`
    rf"(?:[{_MARKS}{_PAIRED}]*[{_MARKS}])?+(?P<opening>[{_PAIRED}]*+)"
    rf"(?P<address>{_ADDRESS.pattern})(?P<closing>{_CLOSING}(?:(?<=[{_MARKS}])|\Z))"
)
_LABEL_WORD = re.compile("mail|addres|adres|correo|courriel", re.IGNORECASE)
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")  # Markdown's: john\_doe@example.com

# Keyboards that write typographic quotes put them into o'brien@example.com too.
_APOSTROPHES = str.maketrans("\u2018\u2019\u201b", "'''")
# Forms of one same character. Others are more than it shows: an encircled 1 is no 1.
_FORMS = {"<wide>", "<narrow>", "<small>", "<font>"}

# A message is looked at as its shape, a character for each: a digit of any script, what is not
# seen, what may stand between the digits of a code, and anything else.
_DIGIT, _UNSEEN, _OTHER = "0", "\u200b", "x"
_UNSEEN_CATEGORIES = {"Cf", "Mn", "Me", "Mc"}  # invisible characters, accents, an emoji's parts
_UNSEEN_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"  # blanks that Unicode counts as letters
# Hebrew and Japanese keyboards and macOS have hyphens of their own: U+05BE, U+30FC, U+2212.
_HYPHENS = "-\u05be\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u30fc"
_SEPARATORS = ".,/_\u00b7"
_GROUP = re.compile(rf"{_DIGIT}[{_DIGIT}{_UNSEEN}]*")
_LOOSE_RUN = re.compile(rf"{_DIGIT}(?:[ \n{_UNSEEN}{_SEPARATORS}-]*+{_DIGIT})*")
# No comma and no slash, which lists and dates have: this counts while no login is known.
_BETWEEN = re.compile(
    r"(?P<blanks> +)|(?P<lines> *\n[ \n]*)|(?P<hyphens> *-+ *)|(?P<dots>[._\u00b7])"
)
_YEAR = re.compile("(19|20)[0-9]{2}")
_DAY_OR_MONTH = re.compile("0?[1-9]|[12][0-9]|3[01]")
# As the triggers have them, which the agent cannot import; a test compares them.
LONG_CODE_DIGITS = 16
"""Digits of the codes a guest gets once somebody has been trying codes."""
CODE_LENGTHS = (*range(6, 11), LONG_CODE_DIGITS)
"""What a stack may set, and its long codes."""
_LONG_CODE_GROUPS = [4, 4, 4, 4]  # as its mail writes it
_SHORTEST_PART = 3  # of a code that is typed in pieces
_MAX_REFERENCES = 3  # a message of many numbers must not grow


class AddressFault(StrEnum):
    """Why a text is no address that a code can be mailed to, in words for its writer."""

    DOTS = (
        "No code can be sent to an address with a dot at the beginning or the end of the part "
        "before the @, or with two dots in a row. Check it, or use another address."
    )
    NAME = (
        "No code can be sent to this address: before the @, only unaccented letters, digits and a "
        "few signs work. Use another address."
    )
    DOMAIN = (
        "The part after the @ has other letters than a to z. Write it in its xn-- form, such as "
        "xn--bcher-kva.example for b\u00fccher.example."
    )
    NOT_ALONE = (
        "An e-mail address is read only if it stands alone: write it with a blank before and after "
        "it."
    )
    LENGTH = (
        f"That is longer than an e-mail address can be: {_MAX_LOCAL_CHARS} characters before the "
        f"@, {_MAX_ADDRESS_CHARS} in all. Check it, or use another address."
    )


def address_fault(text: str) -> AddressFault | None:
    """Say why `parse_address` does not take a text; None if it is no whole address at all."""
    address = _plain(text).strip()
    local, _, domain = address.rpartition("@")
    if not local or "." not in domain.strip(".") or re.search(r"[@\s]", local):
        return None
    if re.search(rf"[{_MARKS}{_END_MARK}]", address):
        return AddressFault.NOT_ALONE if _ADDRESS_IN_TEXT.search(address) else None
    if not _LETTERS_AND_SIGNS.fullmatch(local):
        return AddressFault.NAME
    if not domain.isascii():
        return AddressFault.DOMAIN
    if len(address) > _MAX_ADDRESS_CHARS or len(local) > _MAX_LOCAL_CHARS:
        return AddressFault.LENGTH
    if local.startswith(".") or local.endswith(".") or ".." in local:
        return AddressFault.DOTS
    return None


def parse_address(text: str) -> str | None:
    """Return the one address `text` consists of, lower-cased, or None if it is none."""
    return _parse_plain(_plain(text).strip())


def _parse_plain(text: str) -> str | None:
    fits = len(text) <= _MAX_ADDRESS_CHARS and text.find("@") <= _MAX_LOCAL_CHARS
    # Lower-cased once it is known to be ASCII: the sign for kelvin becomes a plain k.
    return text.lower() if fits and _ADDRESS.fullmatch(text) else None


def typed_addresses(message: str) -> Iterator[str]:
    """Yield the whole addresses in a message, lower-cased; never a part of a longer word."""
    for word in _WORD_END.split(_plain(_ESCAPE.sub(r"\1", message))):
        yield from _whole_addresses(word)


def _whole_addresses(word: str) -> list[str]:
    """Return the addresses that a word consists of; none if there is anything else in it."""
    addresses: list[str] = []
    end = 0
    while end < len(word):
        if not (item := _ITEM.match(word, end)) or not (address := _bare_address(item)):
            return []
        addresses.append(address)
        end = item.end()
    return addresses


def _bare_address(item: re.Match[str]) -> str | None:
    """Return an item's address without the marks around it, if each opening one is closed."""
    label, opening, address, closing = item.group("label", "opening", "address", "closing")
    words = [word for word in re.split(rf"[{_MARKS}]", label or "") if any(map(str.isalnum, word))]
    # On many keyboards a colon is one key away from the dot of john.doe@example.com.
    if words and words[-1].isascii() and not _LABEL_WORD.search(words[-1]):
        return None
    if Counter(opening.replace("{", "}")) <= Counter(closing):
        return _parse_plain(address)
    # `_ada@example.com` is an address with its underscore, and `_ada@example.com_` is emphasised.
    return None if opening.strip("_") else _parse_plain(opening + address)


def _plain(text: str) -> str:
    """Return the text with typographic forms as plain characters.

    What is not seen (Unicode's category Cf) is dropped: it is copied along with an address.
    """
    if text.isascii():
        return text
    return "".join(_plain_form(c) for c in text.translate(_APOSTROPHES) if not _is_format(c))


def _is_format(character: str) -> bool:
    return unicodedata.category(character) == "Cf"


@lru_cache(maxsize=4096)  # a message may have thousands
def _plain_form(character: str) -> str:
    form, _, plain = unicodedata.decomposition(character).partition(" ")
    if form in _FORMS:
        return _plain_form(chr(int(plain, 16)))
    category = unicodedata.category(character)
    if character.isascii() or not category.startswith("P"):
        return character
    return _END_MARK if form or category in {"Pc", "Pd"} else ";"


@dataclass(frozen=True, slots=True, repr=False)
class HiddenCode:
    """The digits behind one reference, as ASCII.

    Attributes:
        groups: Digits with nothing between them.
        runs: Groups with blanks, hyphens and the like between them, joined.
        lines: Of each line that holds digits and no letter.
    """

    groups: tuple[str, ...]
    runs: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "HiddenCode(...)"

    def digits(self, code_length: int) -> str:
        """Return what the visitor most likely meant as the code.

        A line of its own wins, as in the mail, then a group of the right length, so that "123456
        12" is not read as an eight-digit code, then a run. Else it is all digits in one. A newer
        mail may have brought a long code since.
        """
        lengths = [code_length, LONG_CODE_DIGITS]
        for candidates in (self.lines, self.groups, self.runs):
            for length in lengths.copy():
                codes = {each[:length] for each in candidates if _is_once_or_twice(each, length)}
                if len(codes) == 1:
                    return codes.pop()
                if codes:  # a guess could cost an attempt
                    lengths.remove(length)
        return "".join(self.groups)


def hide_codes(message: str, *, code_is_out: bool) -> tuple[str, Mapping[str, HiddenCode]]:
    """Swap what may be a code for an opaque reference, and further digits for `#`.

    Without a login under way that is a run of as many digits as a code has. With one, it is every
    run of three or more, and if the message holds as many digits as a code, every digit in it,
    whatever stands between. Addresses are left whole, since a visitor may correct theirs.

    Args:
        message: What the visitor typed.
        code_is_out: Whether there is a code that this visitor may enter.

    Returns:
        The message, and what each reference in it stands for. There is one, or, if two or three
        runs are as long as a code, one for each; they are new with every call.
    """
    digits, shape = _read(message)

    def held(run: tuple[int, int]) -> str:
        return "".join(digits[slice(*run)])

    code_like = _code_like_runs(digits, shape)
    loose = [run.span() for run in _LOOSE_RUN.finditer(shape)]
    runs = code_like
    if code_is_out:
        whole = sum(map(len, digits)) >= CODE_LENGTHS[0]
        runs = [run for run in loose if whole or len(held(run)) >= _SHORTEST_PART]
    if not runs:
        return message, {}
    hidden: dict[str, HiddenCode] = {}
    shown = list(message)
    for start, end in runs:
        for place in range(start, end):
            if digits[place]:
                shown[place] = "#"
    if 1 < len(code_like) <= _MAX_REFERENCES:  # "123456 or 654321": each may be the code
        for start, end in reversed(code_like):
            code = HiddenCode(_groups(digits, shape, start, end), (held((start, end)),))
            shown[start:end] = [_refer_to(code, hidden)]
    else:
        start, end = code_like[0] if code_like else max(runs, key=lambda run: len(held(run)))
        code = HiddenCode(
            _groups(digits, shape, 0, len(shape)),
            tuple(map(held, [*code_like, *loose])),
            tuple(_lines_alone(message, digits)),
        )
        shown[start:end] = [_refer_to(code, hidden)]
    return "".join(shown), hidden


def hide_code_field(code: str) -> tuple[str, Mapping[str, HiddenCode]]:
    """Swap the content of the code box, whatever it is, for one reference."""
    hidden: dict[str, HiddenCode] = {}
    return _refer_to(HiddenCode(("".join(map(_digits_of, code)),)), hidden), hidden


def _read(message: str) -> tuple[list[str], str]:
    """Return each character's digits, and the message's shape; addresses have no digits."""
    digits = [_digits_of(character) for character in message]
    # Not normalised as a whole, which could move its characters and make it longer.
    seen = [place for place, character in enumerate(message) if not _is_format(character)]
    plain = "".join(_plain_form(message[place]) for place in seen)
    for address in _ADDRESS_IN_TEXT.finditer(plain):
        places = enumerate(seen[slice(*address.span())])
        for _, unbroken in groupby(places, lambda place: place[1] - place[0]):
            part = [place for _, place in unbroken]
            # "123456", something unseen and an address: a code that was pasted before it.
            if not all(digits[place] for place in part):
                for place in part:
                    digits[place] = ""
    shape = "".join(
        _DIGIT if held else _shape_of(character)
        for held, character in zip(digits, message, strict=True)
    )
    return digits, shape


@lru_cache(maxsize=4096)  # some take microseconds, and a message may have thousands
def _digits_of(character: str) -> str:
    """Return the decimal digits a character shows: one, none, or two of an encircled ten."""
    if character.isascii():
        return character if character.isdigit() else ""
    values = [unicodedata.digit(c, None) for c in unicodedata.normalize("NFKC", character)]
    return "".join(str(value) for value in values if value is not None)


def _shape_of(character: str) -> str:
    if character.isspace():
        return " " if character.splitlines()[0] else "\n"
    if character in _HYPHENS:
        return "-"
    if character in _SEPARATORS:
        return character
    if character in _UNSEEN_LETTERS or unicodedata.category(character) in _UNSEEN_CATEGORIES:
        return _UNSEEN
    return _OTHER


def _code_like_runs(digits: list[str], shape: str) -> list[tuple[int, int]]:
    """Return where codes may be; places that overlap are one."""
    runs: list[tuple[int, int]] = []
    for start, end in sorted(_rows(shape)):
        if _is_code_like(_groups(digits, shape, start, end), shape[start:end]):
            if runs and start < runs[-1][1]:
                start, end = runs[-1][0], max(end, runs.pop()[1])
            runs.append((start, end))
    return runs


def _rows(shape: str) -> Iterator[tuple[int, int]]:
    """Yield each group, and all groups in a row with one kind of thing between them.

    So are codes written, and sentences are not. A long code may also go on in the next line, or
    stand among other numbers: it has four groups of four.
    """
    groups = [group.span() for group in _GROUP.finditer(shape)]
    yield from groups
    kinds = [_kind_of(shape[end:start]) for (_, end), (start, _) in pairwise(groups)]
    first = 0
    for kind, same in groupby(kinds):
        last = first + len(list(same))
        # A number of several groups on one line is not read on into the next line.
        apart = kind != "lines" or not {*kinds[first - 1 : first], *kinds[last : last + 1]} - {None}
        if kind and apart:
            yield groups[first][0], groups[last][1]
        first = last
    for first in range(len(groups) - len(_LONG_CODE_GROUPS) + 1):
        four = groups[first : first + len(_LONG_CODE_GROUPS)]
        lengths = [shape.count(_DIGIT, *group) for group in four]
        if lengths == _LONG_CODE_GROUPS and all(kinds[first : first + len(four) - 1]):
            yield four[0][0], four[-1][1]


def _kind_of(between: str) -> str | None:
    match = _BETWEEN.fullmatch(between)
    return match.lastgroup if match else None


def _is_code_like(groups: Sequence[str], shape: str) -> bool:
    """Whether all digits or a group's are as many as a code has, and they are no dates or price."""
    if not any(map(_is_long_as_a_code, ["".join(groups), *groups])):
        return False
    years = sum(bool(_YEAR.fullmatch(group)) for group in groups)
    days_or_months = sum(bool(_DAY_OR_MONTH.fullmatch(group)) for group in groups)
    are_dates = years + days_or_months == len(groups) <= 3 * years
    is_price = (
        len(groups) == 2
        and "." in shape
        and len(groups[1]) == 2
        and not _is_long_as_a_code(groups[0])
    )
    return not (are_dates or is_price)


def _is_long_as_a_code(digits: str) -> bool:
    """Whether it may be a code, or one that was pasted twice."""
    return any(_is_once_or_twice(digits, length) for length in CODE_LENGTHS)


def _is_once_or_twice(digits: str, length: int) -> bool:
    once = digits[:length]
    return len(once) == length and digits in (once, once * 2)


def _lines_alone(message: str, digits: list[str]) -> Iterator[str]:
    start = 0
    for line in message.splitlines(keepends=True):
        held = digits[start : start + len(line)]
        letters = (c for c, digit in zip(line, held, strict=True) if not digit and c.isalnum())
        if any(held) and not any(letters):
            yield "".join(held)
        start += len(line)


def _groups(digits: list[str], shape: str, start: int, end: int) -> tuple[str, ...]:
    groups = _GROUP.finditer(shape, start, end)
    return tuple("".join(digits[slice(*group.span())]) for group in groups)


def _refer_to(code: HiddenCode, hidden: dict[str, HiddenCode]) -> str:
    reference = f"code-{secrets.token_urlsafe(12)}"
    hidden[reference] = code
    return f"[code_reference: {reference}]"
