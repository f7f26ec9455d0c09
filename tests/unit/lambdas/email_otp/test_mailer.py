"""The mail: its words in five languages, its page and headers, and addresses it does not go to."""

import email
import email.policy
import html
import re
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.utils import parseaddr
from html.parser import HTMLParser
from typing import Any

import pytest

from lambdas.email_otp.errors import DeliveryError
from lambdas.email_otp.mail_texts import TEXTS
from lambdas.email_otp.mailer import (
    Mailer,
    compose,
    is_plain_address,
    mailbox_of,
    whole_minutes,
    with_display_name,
)
from tests.support.aws_stand_in import StandIn
from tests.support.triggers import aws_clients

LANGUAGES = sorted(TEXTS)
ASKED_AT = int(datetime(2026, 11, 25, 9, 54, 12, tzinfo=UTC).timestamp())
NAMES = [
    "Harbour Rooms",
    "Bed & <Breakfast>",
    "Smith, Jones",
    'The "Old" Inn',
    "back\\slash\\",
    "eve@example.com",
    "<eve@example.com>",
    "Rooms; (all) [of] : them.",
    '", eve@example.com, "',
    "=?utf-8?q?Harbour?=",
    "H\u00f4tel du Port",
    'H\u00f4tel "du Port", <eve@example.com>',
    "\u6e2f\u306e\u30db\u30c6\u30eb",
    "\u6e2f\u306e\u30db\u30c6\u30eb" * 9,
    "a" * 63 + "\u00e9",
    "\N{GRINNING FACE}" * 20,
]


@pytest.fixture
def mailer(aws: StandIn) -> Mailer:  # noqa: ARG001 - it lies under the clients
    """Return a mailer with a name that wants escaping."""
    _, ses, _, _ = aws_clients(short_cut=False)
    return Mailer(
        ses, sender="login@example.com", app_name="Bed & <Breakfast>", code_ttl_seconds=300
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_mail_has_the_code_alone_on_a_line_and_none_in_the_subject(language: str) -> None:
    subject, text, page = compose("Harbour Rooms", "012345", 5, language, ASKED_AT)
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
    one, two = (compose("App", "1", minutes, language, ASKED_AT)[1] for minutes in (1, 2))
    assert one != two
    assert TEXTS[language].one_minute in one


def test_languages_differ() -> None:
    assert LANGUAGES == ["de", "en", "es", "fr", "ja"]
    assert len({compose("App", "1", 5, language, ASKED_AT)[1] for language in LANGUAGES}) == 5


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
    assert compose("App", "1", 5, locale, ASKED_AT) == compose("App", "1", 5, language, ASKED_AT)


def test_app_name_is_escaped_in_html_alone(mailer: Mailer, aws: StandIn) -> None:
    mailer.send("ada@example.com", "123456", "", asked_at=ASKED_AT)
    [mail] = aws.mails
    assert "Bed &amp; &lt;Breakfast&gt;" in mail.html
    assert "<Breakfast>" not in mail.html
    assert "Bed & <Breakfast>" in mail.text
    assert mail.sender.endswith(" <login@example.com>")


def test_braces_in_the_app_name_are_left_alone() -> None:
    assert "{minutes}" in compose("{minutes}", "1", 5, "en", ASKED_AT)[0]


def test_mail_holds_nothing_the_visitor_typed(mailer: Mailer, aws: StandIn) -> None:
    mailer.send("typed.by.visitor@example.com", "123456", "typed-locale", asked_at=ASKED_AT)
    [mail] = aws.mails
    assert "typed" not in mail.subject + mail.text + mail.html


@pytest.mark.parametrize(
    ("language", "asked"),
    [
        ("en", "Asked for on 25 November 2026 at 09:54:12 UTC."),
        ("de", "Angefordert am 25. November 2026 um 09:54:12 Uhr (UTC)."),
        ("es", "Solicitado el 25 de noviembre de 2026, 09:54:12 UTC."),
        ("fr", "Demand\u00e9 le 25 novembre 2026 \u00e0 09:54:12 UTC."),
        ("ja", "2026 \u5e74 11 \u6708 25 \u65e5 09:54:12 (UTC) \u306b"),
    ],
)
def test_mail_says_when_its_code_was_asked_for(language: str, asked: str) -> None:
    """So that a guest who has two such mails knows which is the latest."""
    _, text, page = compose("App", "123456", 5, language, ASKED_AT)
    assert asked in text
    assert asked in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_mails_half_a_minute_apart_tell_different_times(language: str) -> None:
    first, second = (compose("App", "1", 5, language, ASKED_AT + wait)[1] for wait in (0, 30))
    assert first != second


def test_every_month_is_named_in_its_place() -> None:
    for number, month in enumerate(TEXTS["en"].months.split(), start=1):
        at = datetime(2026, number, 3, tzinfo=UTC)
        assert at.strftime("%B") == month
        assert (
            f"on 3 {month} 2026 at 00:00:00 UTC"
            in compose("App", "1", 5, "en", int(at.timestamp()))[1]
        )


def test_french_has_a_word_for_the_first_of_a_month() -> None:
    first = int(datetime(2026, 5, 1, tzinfo=UTC).timestamp())
    assert "le 1er mai 2026" in compose("App", "1", 5, "fr", first)[1]
    assert "am 1. Mai 2026" in compose("App", "1", 5, "de", first)[1]


@pytest.mark.parametrize(
    ("seconds", "minutes"),
    [(60, 1), (90, 1), (109, 1), (110, 2), (119, 2), (120, 2), (290, 5), (299, 5), (300, 5)],
)
def test_life_is_said_in_whole_minutes_with_ten_seconds_forgiven(
    seconds: int, minutes: int
) -> None:
    assert whole_minutes(seconds) == minutes


def test_mail_says_its_codes_life_by_that_rule(aws: StandIn) -> None:
    _, ses, _, _ = aws_clients(short_cut=False)
    for ttl_seconds in (90, 110):
        mailer = Mailer(
            ses, sender="login@example.com", app_name="App", code_ttl_seconds=ttl_seconds
        )
        mailer.send("ada@example.com", "123456", "en", asked_at=ASKED_AT)
    one, two = (mail.text for mail in aws.mails)
    assert "1 minute from then" in one
    assert "2 minutes from then" in two


def test_mail_names_the_configuration_set_where_there_is_one(aws: StandIn) -> None:
    """MiniStack forgets it. A function's older configuration has none."""
    _, ses, _, _ = aws_clients(short_cut=False)
    for name in ("EmailOtp-Mails", ""):
        mailer = Mailer(
            ses,
            sender="login@example.com",
            app_name="App",
            code_ttl_seconds=300,
            configuration_set_name=name,
        )
        mailer.send("ada@example.com", "123456", "", asked_at=ASKED_AT)
    assert [mail.configuration_set for mail in aws.mails] == ["EmailOtp-Mails", None]


def test_headers_keep_mails_apart_and_machines_from_answering(mailer: Mailer, aws: StandIn) -> None:
    """MiniStack keeps no headers of a mail: this is what SES is sent."""
    for _ in range(2):
        mailer.send("ada@example.com", "123456", "", asked_at=ASKED_AT)
    first, second = (mail.headers for mail in aws.mails)
    ids = {headers.pop("X-Entity-Ref-ID") for headers in (first, second)}
    assert len(ids) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)
    assert (
        first
        == second
        == {
            "Auto-Submitted": "auto-generated",
            "X-Auto-Response-Suppress": "DR, RN, NRN, OOF, AutoReply",
        }
    )


@pytest.mark.parametrize("name", NAMES)
def test_sender_has_the_apps_name_whatever_is_in_it(name: str) -> None:
    """One address, ours, and the name as it is; SES takes ASCII alone."""
    sender = with_display_name(name, "login@example.com")
    assert sender.isascii()
    assert sender.isprintable()
    assert len(sender) <= 320
    message = email.message_from_string(f"From: {sender}\n\n", policy=email.policy.default)
    assert [each.addr_spec for each in message["From"].addresses] == ["login@example.com"]
    # The policy keeps the space between encoded words, against RFC 2047, section 6.2.
    assert str(make_header(decode_header(parseaddr(sender)[0]))) == name


def test_words_of_an_encoded_name_are_as_short_as_the_standard_asks() -> None:
    """RFC 2047, section 2: 75 characters at most."""
    for name in NAMES:
        for word in with_display_name(name, "login@example.com").split():
            assert len(word) <= 75


def test_name_too_long_for_ses_is_cut() -> None:
    """It refuses an address that is longer than 320 characters with its name."""
    smile = "\N{GRINNING FACE}"
    sender = with_display_name(smile * 64, "login@example.com")
    assert 250 < len(sender) <= 320
    assert set(str(make_header(decode_header(parseaddr(sender)[0])))) == {smile}
    longest = with_display_name("a" * 298, "login@example.com")
    assert len(longest) == 320
    assert with_display_name("a" * 299, "login@example.com") == longest
    address = f"{'a' * 64}@{'b' * 60}.{'c' * 60}.{'d' * 60}.com"
    assert with_display_name("Guest desk", address) == f'"Guest desk" <{address}>'


class _Page(HTMLParser):
    """Collects a page's elements, its style sheet and its title."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._within = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._within = tag

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002
        self._within = ""

    def handle_data(self, data: str) -> None:
        self.texts[self._within] = self.texts.get(self._within, "") + data

    def meta(self, name: str) -> str | None:
        """Return a meta element's content."""
        [content] = [each["content"] for _, each in self.elements if each.get("name") == name]
        return content


def _declarations(css: str | None) -> dict[str, str]:
    pairs = (each.split(":", 1) for each in (css or "").split(";") if ":" in each)
    return {name.strip(): value.replace("!important", "").strip() for name, value in pairs}


@pytest.mark.parametrize("language", LANGUAGES)
def test_t42_long_code_is_grouped_and_its_mail_says_that_somebody_tried(language: str) -> None:
    """As on a card; a short one is whole, and its mail says nothing of the kind."""
    tried = TEXTS[language].tried
    subject, text, page = compose("Harbour Rooms", "0123456789012345", 5, language, ASKED_AT)
    assert text.splitlines().count("0123 4567 8901 2345") == 1
    assert text.splitlines().count(tried) == 1
    assert "0123 4567 8901 2345" in page
    assert html.escape(tried) in page
    assert not re.search(r"\d", subject)
    _, text, page = compose("Harbour Rooms", "0123456789", 5, language, ASKED_AT)
    assert text.splitlines().count("0123456789") == 1
    assert tried not in text
    assert html.escape(tried) not in page


@pytest.mark.parametrize(
    "spelling",
    [
        "victim@example.com",
        "VICTIM@Example.com",
        "victim+1@example.com",
        "v.i.c.t.i.m@example.com",
        "vic.tim+a+b@example.com",
    ],
)
def test_t43_spellings_of_one_mailbox_are_one(spelling: str) -> None:
    assert mailbox_of(spelling) == "victim@example.com"


def test_t43_domains_of_one_provider_are_one() -> None:
    """The shortest names there have six characters, so nobody has this one."""
    assert mailbox_of("a.b@googlemail.com") == mailbox_of("ab@gmail.com")


@pytest.mark.parametrize(
    "other", ["victim@example.net", "victor@example.com", "a+victim@example.com"]
)
def test_t43_other_mailboxes_are_others(other: str) -> None:
    assert mailbox_of(other) != "victim@example.com"


def test_t43_mailbox_of_nothing_but_marks_keeps_them() -> None:
    """Else all such addresses of a domain were one."""
    assert mailbox_of("+a@example.com") != mailbox_of("+b@example.com")


def _contrast(one: str, other: str) -> float:
    """Return the contrast of two colours.

    Source: WCAG 2.2, relative luminance and contrast ratio.
    """

    def luminance(colour: str) -> float:
        assert re.fullmatch("#[0-9a-f]{6}", colour)
        channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_computed_as_wcag_does() -> None:
    assert _contrast("#000000", "#ffffff") == pytest.approx(21)
    assert _contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("language", LANGUAGES)
def test_page_tells_mail_programs_what_it_is(language: str) -> None:
    subject, _, written = compose("Bed & <Breakfast>", "123456", 5, language, ASKED_AT)
    page = _Page(written)
    assert written.startswith("<!doctype html>\n")
    assert page.elements[0] == ("html", {"lang": language})
    assert ("meta", {"charset": "utf-8"}) in page.elements
    assert page.texts["title"] == subject
    assert page.meta("viewport") == "width=device-width"
    for kind in ("telephone", "date", "address", "email"):
        assert f"{kind}=no" in (page.meta("format-detection") or "").split(",")
    assert page.meta("color-scheme") == page.meta("supported-color-schemes") == "light dark"


def test_text_never_has_a_colour_without_its_background_and_is_readable_in_light_and_dark() -> None:
    """Else a mail program that darkens one of the two makes the text vanish."""
    page = _Page(compose("App", "123456", 5, "en", ASKED_AT)[2])
    [dark] = re.findall(
        r"@media \(prefers-color-scheme: dark\) \{\s*\.page \{(.*?)\}\s*\}", page.texts["style"]
    )
    coloured = [
        (attributes.get("class"), style)
        for _, attributes in page.elements
        if "color" in (attributes.get("style") or "")
        for style in [_declarations(attributes["style"])]
    ]
    assert len(coloured) == 2
    # Those are all that have a colour, and every one turns dark.
    assert "color" not in page.texts["style"].replace(dark, "").replace("color-scheme", "")
    assert {name for name, _ in coloured} == {"page"}
    assert dark.count("!important") == 2
    for style in [_declarations(dark), *(style for _, style in coloured)]:
        assert not [name for name in style if "background" in name and name != "background-color"]
        assert _contrast(style["color"], style["background-color"]) >= 4.5


@pytest.mark.parametrize(
    "address",
    ["ada@example.com", "ADA@EXAMPLE.COM", "a.d+a@mail.example.co.uk", "o'neil@example.com"],
)
def test_plain_address_is_mailed(mailer: Mailer, aws: StandIn, address: str) -> None:
    """T13: upper case is fine."""
    mailer.send(address, "123456", "", asked_at=ASKED_AT)
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
        mailer.send(address, "123456", "", asked_at=ASKED_AT)
    assert aws.calls == []


def test_hostile_address_is_decided_quickly() -> None:
    """No address makes the pattern backtrack."""
    hostile: Any = "a" * 64 + "@" + "a-" * 90 + "!"
    assert not is_plain_address(hostile)
