"""The challenge: what one mailed code is made of, and how an answer is compared with it."""

import hmac
import json
import secrets
import unicodedata
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Self

# It calls AWS; Define, which needs the rest, does not.
if TYPE_CHECKING:
    from lambdas.email_otp.code_key import CodeKey

LONG_CODE_DIGITS = 16
"""Digits of the codes a user gets after too many wrong answers: none is ever guessed."""

UNANSWERABLE = "unanswerable"
"""Metadata where nothing was sent. It is no JSON, so it is never read as a challenge."""

_MAX_ANSWER_CHARACTERS = 64
NOBODY = ""
"""In the place of an address's digest. It is no digest, so no address meets it."""
_MAX_DIGITS = 32  # more than any version mails
# Unicode's categories of dashes (Pd) and of format characters, which nobody sees (Cf).
_DROPPED = {"Pd", "Cf"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """A code that is out, without the code.

    It travels in Cognito's `challengeMetadata` and private parameters, which no client sees.
    `issued_at` is epoch seconds. `max_attempts` counts the answers to one Cognito session.
    `nonce` is new with every Create call.
    """

    id: str
    issued_at: int
    digits: int
    max_attempts: int
    key_version: str
    address_digest: str
    nonce: str

    @classmethod
    def new(
        cls, key: "CodeKey", *, address: str, issued_at: int, digits: int, attempts: int
    ) -> Self:
        """Make a challenge with a fresh 128-bit id.

        Args:
            key: The key its code will be derived from.
            address: Where the code goes.
            issued_at: Epoch seconds.
            digits: Of the code, 6 to 16.
            attempts: Answers to one Cognito session, 1 to 3.
        """
        return cls(
            id=secrets.token_hex(16),
            issued_at=issued_at,
            digits=digits,
            max_attempts=attempts,
            key_version=key.version,
            address_digest=address_digest(key, address),
            nonce=secrets.token_hex(16),
        )

    @classmethod
    def from_metadata(cls, metadata: object) -> Self | None:
        """Read what `to_metadata` wrote, or return None: no answer can be right.

        That is so for `UNANSWERABLE`, and for whatever another version of the triggers may have
        written: whoever signs in during a deployment has to ask for another code at worst.
        """
        try:
            values = json.loads(metadata)  # type: ignore[arg-type]
        except (TypeError, ValueError, RecursionError):
            return None
        types = {field.name: field.type for field in fields(cls)}
        if not isinstance(values, dict) or {key: type(values[key]) for key in values} != types:
            return None
        # All of ours is ASCII, and digests of other texts could not be compared; a code of no
        # digits, or of millions, could not be derived.
        sound = all(str(value).isascii() for value in values.values())
        return cls(**values) if sound and 0 < values["digits"] <= _MAX_DIGITS else None

    def to_metadata(self) -> str:
        """Write the challenge as compact JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    def with_new_nonce(self) -> Self:
        """Make the same challenge for another Create call: its code stays."""
        return replace(self, nonce=secrets.token_hex(16))

    def as_decoy(self) -> Self:
        """Make a challenge that looks the same from outside, and that no answer meets."""
        return replace(
            self,
            id=secrets.token_hex(16),
            address_digest=NOBODY,
            nonce=secrets.token_hex(16),
        )

    @property
    def is_decoy(self) -> bool:
        """Tell whether nobody was mailed its code."""
        return self.address_digest == NOBODY

    @property
    def is_long(self) -> bool:
        """Tell whether the code is too long to be worth guessing."""
        return self.digits >= LONG_CODE_DIGITS

    def expires_at(self, ttl_seconds: int) -> int:
        """Return the first epoch second at which the code no longer works."""
        return self.issued_at + ttl_seconds

    def code(self, key: "CodeKey", user_key: str) -> str:
        """Derive the code, leading zeros kept. The bias of the reduction is under 2**-200."""
        number = int.from_bytes(key.digest("code", user_key, self.id))
        return str(number % 10**self.digits).zfill(self.digits)

    def is_answered_by(self, answer: object, key: "CodeKey", user_key: str) -> bool:
        """Compare an answer with the code in constant time."""
        expected = self.code(key, user_key)
        return hmac.compare_digest(expected.encode(), normalize_answer(answer).encode())

    def was_mailed_to(self, address: str, key: "CodeKey") -> bool:
        """Tell whether `address` is the one the code went to."""
        return hmac.compare_digest(self.address_digest, address_digest(key, address))

    def answer_digest(self, key: "CodeKey") -> str:
        """Name the right answer to this very Create call, to recognise Cognito's repeat of it."""
        return key.digest("answer", self.id, self.nonce).hex()


def address_digest(key: "CodeKey", address: str) -> str:
    """Make a keyed digest of an address, the same in upper and lower case."""
    return key.digest("address", address.casefold()).hex()


def normalize_answer(answer: object) -> str:
    """Reduce what a person typed to ASCII digits; anything that cannot be a code becomes "".

    Spaces, hyphens and what nobody sees are dropped and every Unicode decimal digit counts as its
    value, since people paste "123 456", pages and mail programs add zero-width characters, and
    some keyboards write other digits.
    """
    # Counts all that was typed, so that an answer of megabytes costs nothing: enough for the
    # longest code with three unseen characters beside each digit.
    if not isinstance(answer, str) or len(answer) > _MAX_ANSWER_CHARACTERS:
        return ""
    kept = [c for c in answer if not c.isspace() and unicodedata.category(c) not in _DROPPED]
    digits = [unicodedata.decimal(c, None) for c in kept]
    return "" if None in digits else "".join(map(str, digits))
