"""The mail: its words in five languages, and addresses it does not go to."""

import re
from typing import Any

import pytest

from email_otp.errors import DeliveryError
from email_otp.mailer import Mailer, compose, is_plain_address
from email_otp.templates import TEXTS
from tests.unit.lambdas.aws_stand_in import StandIn
from tests.unit.lambdas.sign_in import aws_clients

LANGUAGES = sorted(TEXTS)


@pytest.fixture
def mailer(aws: StandIn) -> Mailer:  # noqa: ARG001 - it lies under boto3
    """A mailer with a name that wants escaping."""
    _, ses, _, _ = aws_clients(short_cut=False)
    return Mailer(
        ses, sender="login@example.com", app_name="Bed & <Breakfast>", code_ttl_seconds=300
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_mail_has_the_code_alone_on_a_line_and_none_in_the_subject(language: str) -> None:
    subject, text, page = compose("Harbour Rooms", "012345", 5, language)
    assert text.splitlines().count("012345") == 1
    assert "012345" not in subject
    assert page.count("012345") == 1
    for part in (subject, text, page):
        assert "Harbour Rooms" in part
        assert "{" not in re.sub(r"(?s)<style.*?</style>", "", part)
    assert "5" in text.replace("012345", "")
    assert f'<html lang="{language}">' in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_one_minute_is_said_without_a_plural(language: str) -> None:
    one, two = (compose("App", "1", minutes, language)[1] for minutes in (1, 2))
    assert one != two
    assert TEXTS[language].one_minute in one


def test_languages_differ() -> None:
    assert LANGUAGES == ["de", "en", "es", "fr", "ja"]
    assert len({compose("App", "1", 5, language)[1] for language in LANGUAGES}) == 5


@pytest.mark.parametrize(
    ("locale", "language"),
    [
        ("de", "de"),
        ("de-AT", "de"),
        ("DE_at", "de"),
        ("es-419", "es"),
        ("ja", "ja"),
        ("", "en"),
        ("tlh", "en"),
        ("<script>", "en"),
        ("../de", "en"),
        ("x" * 2048, "en"),
    ],
)
def test_language_follows_the_locale_and_is_english_when_unknown(
    locale: str, language: str
) -> None:
    assert compose("App", "1", 5, locale) == compose("App", "1", 5, language)


def test_app_name_is_escaped_in_html_alone(mailer: Mailer, aws: StandIn) -> None:
    mailer.send("ada@example.com", "123456", "")
    [mail] = aws.mails
    assert "Bed &amp; &lt;Breakfast&gt;" in mail.html
    assert "<Breakfast>" not in mail.html
    assert "Bed & <Breakfast>" in mail.text
    assert mail.sender == "login@example.com"


def test_braces_in_the_app_name_are_left_alone() -> None:
    assert "{minutes}" in compose("{minutes}", "1", 5, "en")[0]


def test_mail_holds_nothing_the_visitor_typed(mailer: Mailer, aws: StandIn) -> None:
    mailer.send("typed.by.visitor@example.com", "123456", "typed-locale")
    [mail] = aws.mails
    assert "typed" not in mail.subject + mail.text + mail.html


@pytest.mark.parametrize(
    "address",
    ["ada@example.com", "ADA@EXAMPLE.COM", "a.d+a@mail.example.co.uk", "o'neil@example.com"],
)
def test_plain_address_is_mailed(mailer: Mailer, aws: StandIn, address: str) -> None:
    """T13: upper case is fine."""
    mailer.send(address, "123456", "")
    assert [mail.to for mail in aws.mails] == [address]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "ada@localhost",
        "ada@example.com\n",
        "ada@example.com\r\nBcc: eve@example.com",
        "ada@example.com,eve@example.com",
        "ada@example.com;eve@example.com",
        "ada@example.com eve@example.com",
        "Ada <ada@example.com>",
        '"ada"@example.com',
        "ada@@example.com",
        "ada@example..com",
        "ada@-example.com",
        "ada@[127.0.0.1]",
        "\u0430da@example.com",
        "ada@ex\u0430mple.com",
        "ada\u200b@example.com",
        "ada@example.com\x00",
        "a" * 65 + "@example.com",
        "a" * 300 + "@example.com",
        "ada@" + ".".join(["a" * 63] * 5),
    ],
)
def test_what_is_no_plain_address_is_not_mailed(mailer: Mailer, aws: StandIn, address: str) -> None:
    """T13: CRLF, commas, display names, unicode, homoglyphs, 300 characters."""
    assert not is_plain_address(address)
    with pytest.raises(DeliveryError):
        mailer.send(address, "123456", "")
    assert aws.calls == []


def test_hostile_address_is_decided_quickly() -> None:
    """No address makes the pattern backtrack."""
    hostile: Any = "a" * 64 + "@" + "a-" * 90 + "!"
    assert not is_plain_address(hostile)
