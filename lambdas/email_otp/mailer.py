"""The mail that carries a code: its words, in the guest's language, and its sending."""

import html
import re
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from email_otp.errors import DeliveryError
from email_otp.templates import TEXTS

if TYPE_CHECKING:
    from types_boto3_sesv2 import SESV2Client

SIMULATOR = "success@simulator.amazonses.com"
"""SES's mailbox simulator, where the mail of an unknown user goes: same work, nobody reads it.

Source: https://docs.aws.amazon.com/ses/latest/dg/send-an-email-from-console.html
"""

# One plain address, so that neither a list nor a display name nor a header gets through.
# Source: https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})+")
_MAX_ADDRESS_CHARACTERS = 254

_HTML = """\
<!doctype html>
<html lang="{language}">
<body style="margin:0;padding:24px;font:16px/1.5 system-ui,sans-serif;color:#1a1a1a">
<p>{intro}</p>
<p style="font-size:32px;font-weight:700;letter-spacing:4px;margin:24px 0">{code}</p>
<p>{lifetime}</p>
<p>{warning}</p>
</body>
</html>
"""


class Mailer:
    """Sends codes from one address in one app's name."""

    def __init__(
        self, client: "SESV2Client", *, sender: str, app_name: str, code_ttl_seconds: int
    ) -> None:
        self._client = client
        self._sender = sender
        self._app_name = app_name
        self._minutes = code_ttl_seconds // 60

    def send(self, address: str, code: str, locale: str) -> None:
        """Hand the mail to SES, in one try.

        Args:
            address: The address Cognito holds for the user, never the one that was typed.
            code: The code's digits.
            locale: The user's `locale` attribute (BCP 47), or "".

        Raises:
            DeliveryError: SES refused it or did not answer in time, or it is no plain address.
        """
        if not is_plain_address(address):
            raise DeliveryError
        subject, text, page = compose(self._app_name, code, self._minutes, locale)
        try:
            self._client.send_email(
                FromEmailAddress=self._sender,
                Destination={"ToAddresses": [address]},
                Content={
                    "Simple": {
                        "Subject": {"Data": subject, "Charset": "UTF-8"},
                        "Body": {
                            "Text": {"Data": text, "Charset": "UTF-8"},
                            "Html": {"Data": page, "Charset": "UTF-8"},
                        },
                    }
                },
            )
        except (BotoCoreError, ClientError) as error:
            raise DeliveryError from error


def is_plain_address(address: str) -> bool:
    """Whether this is one ASCII address and nothing else."""
    return len(address) <= _MAX_ADDRESS_CHARACTERS and bool(_ADDRESS.fullmatch(address))


def compose(app_name: str, code: str, minutes: int, locale: str) -> tuple[str, str, str]:
    """Write the mail.

    Args:
        app_name: How the mail names the app.
        code: The code's digits.
        minutes: How long it works.
        locale: A BCP 47 tag or ""; English where there are no words in its language.

    Returns:
        Subject, text and HTML. The text has the code alone on a line; the subject has none.
    """
    language = re.split("[-_]", locale.casefold())[0]
    language = language if language in TEXTS else "en"
    texts = TEXTS[language]
    lifetime = texts.one_minute if minutes == 1 else texts.many_minutes
    subject, intro, lifetime, warning = (
        line.format(app=app_name, minutes=minutes)
        for line in (texts.subject, texts.intro, lifetime, texts.warning)
    )
    text = f"{intro}\n\n{code}\n\n{lifetime}\n\n{warning}\n"
    page = _HTML.format(
        language=language,
        intro=html.escape(intro),
        code=code,
        lifetime=html.escape(lifetime),
        warning=html.escape(warning),
    )
    return subject, text, page
