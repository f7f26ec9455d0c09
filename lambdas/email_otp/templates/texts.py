"""The sentences of the mail that a language fills in."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """One language's sentences; `{app}` is the app's name, `{minutes}` the code's life."""

    subject: str
    intro: str
    one_minute: str
    many_minutes: str
    warning: str
