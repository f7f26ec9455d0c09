"""The mail as a browser shows it."""

from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page

from lambdas.email_otp.mail_texts import TEXTS
from lambdas.email_otp.mailer import compose

ASKED_AT = 1_795_600_452
LONG_CODE = "0888888888888880"
# A long one without a blank, as the sender's domain may be.
APP_NAME = "welcometothehotelattheharbourofthelittletown.example.com"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", sorted(TEXTS))
def test_mail_is_readable_on_a_small_screen(
    page: Page, axe: str, screenshots: Path, language: str, scheme: Literal["light", "dark"]
) -> None:
    page.emulate_media(color_scheme=scheme)
    for width in (320, 1280):
        page.set_viewport_size({"width": width, "height": 640})
        page.set_content(compose(APP_NAME, "0888888880", 5, language, ASKED_AT)[2])

        assert page.evaluate("document.documentElement.scrollWidth") <= width
        code = page.get_by_text("0888888880", exact=True)
        lines = "(code) => { const all = document.createRange(); all.selectNodeContents(code);"
        assert code.evaluate(f"{lines} return all.getClientRects().length; }}") == 1
        page.evaluate(axe)
        violations = page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa']})")["violations"]
        assert [each["id"] for each in violations] == []
        page.screenshot(path=screenshots / f"mail-{language}-{scheme}-{width}.png")

        page.set_content(compose(APP_NAME, LONG_CODE, 5, language, ASKED_AT)[2])
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=screenshots / f"mail-long-code-{language}-{scheme}-{width}.png")
