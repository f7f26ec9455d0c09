"""Finds secrets in whatever a process leaves behind: objects, texts, JSON within texts."""

import base64
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

_FRAGMENT = 40  # characters of a long secret that are already one
_WALKED = ("strands.", "opentelemetry.")

# Digits that every process writes and nobody chose; a code may stand in them by chance.
_NOISE = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d([.,]\d+)?"
    r"|(?i:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"|(?<![0-9a-fA-F])[0-9a-fA-F]{16,}(?![0-9a-fA-F])"
)
_CLOCKS_OF_A_RECORD = {"created", "msecs", "relativeCreated", "thread", "process", "lineno"}


def texts(value: object, *, seen: dict[int, object] | None = None) -> Iterator[str]:
    """Yield every text in `value`: keys, items, attributes, and what JSON strings hold."""
    seen = {} if seen is None else seen
    if isinstance(value, str):
        yield value
        if value.lstrip()[:1] in {"{", "[", '"'}:
            try:
                inner = json.loads(value)
            except (ValueError, RecursionError):
                return
            yield from texts(inner, seen=seen)
    elif isinstance(value, bytes | bytearray):
        yield value.decode("latin-1")
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(value)
    elif id(value) not in seen:
        seen[id(value)] = value  # kept, so that no later object gets the same id
        for part in _parts(value):
            yield from texts(part, seen=seen)


def _parts(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        yield from value.keys()
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif isinstance(value, logging.LogRecord):
        yield value.getMessage()
        yield {k: v for k, v in vars(value).items() if k not in _CLOCKS_OF_A_RECORD}
    elif value is not None and not isinstance(value, float):
        yield repr(value)
        if isinstance(value, BaseException):
            yield value.args
        # Only what a place consists of: through anything at hand all of memory can be reached.
        elif hasattr(value, "__dict__") and type(value).__module__.startswith(_WALKED):
            yield vars(value)


@dataclass(frozen=True)
class Secret:
    """Something that must not be found; printed by its name alone."""

    name: str
    value: str

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @cached_property
    def is_code(self) -> bool:
        return self.value.isdigit() and len(self.value) <= 10

    @cached_property
    def patterns(self) -> Mapping[str, re.Pattern[str]]:
        """How each encoding of the secret, or of a part that is already a leak, looks."""
        spellings: dict[str, list[str]] = {"clear": [], "base64": [], "url": [], "hex": []}
        if self.is_code:
            spellings["clear"] = [rf"(?<!\d){r'[\s-]?'.join(self.value)}(?!\d)"]
        for part in self._fragments():
            raw = part.encode()
            if not self.is_code:
                spellings["clear"].append(re.escape(part))
            spellings["base64"] += map(re.escape, base64_spellings(raw))
            spellings["hex"].append(f"(?i:{raw.hex()})")
            every_byte = "".join(f"%{byte:02x}" for byte in raw)
            spellings["url"] += [f"(?i:{every_byte})"]
            if quote(part, safe="") != part:
                spellings["url"].append(f"(?i:{re.escape(quote(part, safe=''))})")
        return {name: re.compile("|".join(spelled)) for name, spelled in spellings.items()}

    def _fragments(self) -> list[str]:
        if len(self.value) <= _FRAGMENT:
            return [self.value]
        middle = (len(self.value) - _FRAGMENT) // 2
        starts = (0, middle, len(self.value) - _FRAGMENT)
        return [self.value[start : start + _FRAGMENT] for start in starts]


def base64_spellings(raw: bytes) -> Iterator[str]:
    """Yield the part of `raw` in base64 that is the same whatever stands around it.

    In any of the three alignments, in the standard and the URL-safe alphabet.
    """
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + raw).decode().rstrip("=")
        first = -(-offset * 8 // 6)
        whole = (offset + len(raw)) * 8 // 6
        standard = encoded[first:whole]
        yield standard
        yield standard.translate(str.maketrans("+/", "-_"))


def find_leaks(places: Mapping[str, object], secrets: list[Secret]) -> list[str]:
    """Return `place: secret (encoding)` for each secret found, in the order of the places."""
    found = []
    for place, content in places.items():
        text = "\n".join(texts(content))
        quiet = _NOISE.sub("", text)
        found += [
            f"{place}: {secret.name} ({encoding})"
            for secret in secrets
            for encoding, pattern in secret.patterns.items()
            if pattern.search(quiet if secret.is_code and encoding == "clear" else text)
        ]
    return found


def encoded(secret: str) -> dict[str, Any]:
    """Return a secret in every encoding `find_leaks` knows, by a name for each."""
    return {
        "clear": secret,
        **{
            f"base64 at {offset}": base64.b64encode(
                b"?" * offset + secret.encode() + b"??"
            ).decode()
            for offset in range(3)
        },
        "urlsafe base64": base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
        "url": "".join(f"%{byte:02X}" for byte in secret.encode()),
        "hex": secret.encode().hex(),
    }
