"""The sentences of the mail that a language fills in."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """One language's sentences.

    `{app}` is the app's name, `{minutes}` the code's life, `{day} {month} {year} {time}` when it
    was asked for. `months` are twelve words, with spaces between.
    """

    subject: str
    intro: str
    months: str
    asked: str
    one_minute: str
    many_minutes: str
    warning: str
    first_of_month: str = "1"
