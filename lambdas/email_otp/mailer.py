"""The mail that carries a code: its words, in the guest's language, and its sending."""

import html
import re
import secrets
from datetime import UTC, datetime
from email.header import Header
from email.utils import quote
from typing import TYPE_CHECKING, TypedDict

from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

from lambdas.email_otp.calls import MAIL_SECONDS, in_time, may_be_tried_again
from lambdas.email_otp.challenge import LONG_CODE_DIGITS
from lambdas.email_otp.errors import DeliveryError, OutOfTimeError
from lambdas.email_otp.mail_page import PAGE
from lambdas.email_otp.mail_texts import TEXTS, Texts

if TYPE_CHECKING:
    from types_boto3_sesv2 import SESV2Client
    from types_boto3_sesv2.type_defs import MessageHeaderTypeDef

# One plain address, so that neither a list nor a display name nor a header gets through.
# Source: https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})+")
_MAX_ADDRESS_CHARACTERS = 254

# What SES takes as an address with its name, counted as it is sent; it says so only in its refusal:
# https://github.com/zulip/zulip/issues/17558
_MAX_FROM_CHARACTERS = 320
# Of an encoded word. Source: RFC 2047, section 2.
_MAX_WORD_CHARACTERS = 75
_FORGIVEN_SECONDS = 10


class _ConfigurationSet(TypedDict, total=False):
    ConfigurationSetName: str


class Mailer:
    """Sends codes from one address in one app's name."""

    def __init__(
        self,
        client: "SESV2Client",
        *,
        sender: str,
        app_name: str,
        code_ttl_seconds: int,
        configuration_set_name: str = "",
    ) -> None:
        self._client = client
        self._configuration_set: _ConfigurationSet = (
            {"ConfigurationSetName": configuration_set_name} if configuration_set_name else {}
        )
        self._sender = with_display_name(app_name, sender)
        self._app_name = app_name
        self._minutes = whole_minutes(code_ttl_seconds)

    def send(self, address: str, code: str, locale: str, *, asked_at: int) -> str | None:
        """Hand the mail to SES.

        Args:
            address: The address Cognito holds for the user, never the one that was typed.
            code: The code's digits.
            locale: The user's `locale` attribute (BCP 47), or "".
            asked_at: When the code was asked for, epoch seconds.

        Returns:
            SES's id of the mail, or None if its answer did not come in time: then the mail may
            have been sent, and a second try could be a second mail.

        Raises:
            DeliveryError: SES refused it, there was no time left, or it is no plain address.
        """
        if not is_plain_address(address):
            raise DeliveryError
        subject, text, page = compose(self._app_name, code, self._minutes, locale, asked_at)
        try:
            sent = in_time(
                lambda: self._client.send_email(
                    FromEmailAddress=self._sender,
                    Destination={"ToAddresses": [address]},
                    Content={
                        "Simple": {
                            "Subject": {"Data": subject, "Charset": "UTF-8"},
                            "Body": {
                                "Text": {"Data": text, "Charset": "UTF-8"},
                                "Html": {"Data": page, "Charset": "UTF-8"},
                            },
                            "Headers": _headers(),
                        }
                    },
                    **self._configuration_set,
                ),
                seconds=MAIL_SECONDS,
                try_again=_was_not_sent,
            )
        except ReadTimeoutError:
            return None
        except (BotoCoreError, ClientError, OutOfTimeError) as error:
            raise DeliveryError from error
        return sent["MessageId"]


def is_plain_address(address: str) -> bool:
    """Tell whether this is one ASCII address and nothing else."""
    return len(address) <= _MAX_ADDRESS_CHARACTERS and bool(_ADDRESS.fullmatch(address))


def mailbox_of(address: str) -> str:
    """Write an address as the mailbox it most likely goes to, to count mails by.

    Dots and what follows a plus do not count, as at the largest mail providers. Elsewhere two
    people may so share the few mails an hour that newcomers are sent.
    """
    local, _, domain = address.casefold().rpartition("@")
    mailbox = local.partition("+")[0].replace(".", "") or local
    return f"{mailbox}@{'gmail.com' if domain == 'googlemail.com' else domain}"


def grouped(code: str) -> str:
    """Write a long code as on a card, in groups of four; a short one stays whole."""
    if len(code) < LONG_CODE_DIGITS:
        return code
    return " ".join(code[start : start + 4] for start in range(0, len(code), 4))


def with_display_name(name: str, address: str) -> str:
    """Write a sender as `"Harbour Rooms" <login@example.com>`, in ASCII.

    A name so long that SES would refuse the mail is cut.

    Args:
        name: One printable line, of any characters.
        address: A plain address.
    """
    if name.isascii() and "=?" not in name:
        # In quotes, or a comma would make two addresses of one. Source: RFC 5322, section 3.4.
        shown = f'"{quote(name)}"'
    else:
        # Source: RFC 2047, section 5.
        shown = Header(name, "utf-8", maxlinelen=_MAX_WORD_CHARACTERS).encode(linesep="")
    named = f"{shown} <{address}>"
    if len(named) <= _MAX_FROM_CHARACTERS:
        return named
    return with_display_name(name[:-1], address)


def whole_minutes(seconds: int) -> int:
    """Say a code's life in whole minutes.

    `agent/service/offline_model.py` and `prompts/system.md` repeat the rule: change all three.
    Rounded down, so that nobody is promised time there is not; ten seconds are forgiven, since
    the chat hears of a code seconds after it was made, and the two should say the same.
    """
    return (seconds + _FORGIVEN_SECONDS) // 60


def compose(
    app_name: str, code: str, minutes: int, locale: str, asked_at: int
) -> tuple[str, str, str]:
    """Write the mail; with a long code it says that somebody has been trying codes.

    Args:
        app_name: How the mail names the app.
        code: The code's digits.
        minutes: How long it works.
        locale: A BCP 47 tag or ""; English where there are no words in its language.
        asked_at: When the code was asked for, epoch seconds.

    Returns:
        Subject, text and HTML. The text has the code alone on a line; the subject has none.
    """
    language = re.split("[-_]", locale.casefold())[0]
    language = language if language in TEXTS else "en"
    texts = TEXTS[language]
    lifetime = texts.one_minute if minutes == 1 else texts.many_minutes
    asked = _asked(texts, asked_at)
    subject, intro, lifetime, warning = (
        line.format(app=app_name, minutes=minutes)
        for line in (texts.subject, texts.intro, lifetime, texts.warning)
    )
    shown = grouped(code)
    tried = [texts.tried] if len(code) >= LONG_CODE_DIGITS else []
    text = "\n\n".join([intro, shown, *tried, asked, lifetime, warning]) + "\n"
    page = PAGE.format(
        language=language,
        subject=html.escape(subject),
        intro=html.escape(intro),
        code=shown,
        tried="".join(f"<p>{html.escape(line)}</p>\n" for line in tried),
        asked=html.escape(asked),
        lifetime=html.escape(lifetime),
        warning=html.escape(warning),
    )
    return subject, text, page


def _asked(texts: Texts, asked_at: int) -> str:
    """Say when the code was asked for: in UTC, since nobody knows the guest's own zone."""
    at = datetime.fromtimestamp(asked_at, UTC)
    return texts.asked.format(
        day=texts.first_of_month if at.day == 1 else at.day,
        month=texts.months.split()[at.month - 1],
        year=at.year,
        # With seconds: two mails may be half a minute apart.
        time=f"{at:%H:%M:%S}",
    )


def _headers() -> list["MessageHeaderTypeDef"]:
    """Return what keeps mails apart, and machines from answering them."""
    headers = {
        # Mail programs that fold like mails into one leave those whose value differs apart. It is
        # new with each mail, and made from nothing.
        "X-Entity-Ref-ID": secrets.token_hex(16),
        # Source: RFC 3834, section 5.
        "Auto-Submitted": "auto-generated",
        # Exchange's. Not "All", which suppresses bounces too: SES must hear of those.
        # Source: https://learn.microsoft.com/en-us/openspecs/exchange_server_protocols/ms-oxcmail/ced68690-498a-4567-9d14-5c01f974d8b1
        "X-Auto-Response-Suppress": "DR, RN, NRN, OOF, AutoReply",
    }
    return [{"Name": name, "Value": value} for name, value in headers.items()]


def _was_not_sent(error: Exception) -> bool:
    # A connection that closes is mostly one kept from before, which died while the function was
    # frozen; that a mail went out on it first is rare, and the second would bring the same code.
    return may_be_tried_again(error) and not isinstance(error, ReadTimeoutError)
