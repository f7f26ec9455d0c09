"""The chat page in a real Chromium, as a guest uses it."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Request, expect

from tests.browser.conftest import SCREENSHOTS
from tests.browser.guest import Guest
from tests.deployment import Deployment, other_than

_AXE = "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})"


def test_anonymous_question_needs_no_sign_in(guest: Guest) -> None:
    guest.say("When is breakfast?")
    guest.hears("7:30")
    guest.is_anonymous()
    expect(guest.code_box).to_be_hidden()


def test_code_box_signs_in_after_a_wrong_code_and_the_question_is_asked_again_once(
    guest: Guest,
) -> None:
    code = guest.asks_for_code()
    expect(guest.code_box).to_be_focused()
    expect(guest.code_box).to_have_attribute("autocomplete", "one-time-code")
    expect(guest.code_box).to_have_attribute("inputmode", "numeric")

    guest.enters(other_than(code))
    guest.hears("That code is not right")
    guest.enters(f"{code[:3]} {code[3:]}")

    guest.is_signed_in()
    guest.hears("Here is your guest record")
    session = guest.session()
    assert session is not None
    assert session["email"] == guest.address


def test_typed_code_signs_in(guest: Guest) -> None:
    code = guest.asks_for_code()
    guest.say(f"It's {code}")
    guest.is_signed_in()


def test_no_token_reaches_the_page_or_any_other_request(guest: Guest) -> None:
    """T22: tokens are in the storage, the bearer header and Cognito's own requests alone."""
    posted: list[str] = []

    def sent(request: Request) -> None:
        if request.post_data and "/invocations" in request.url:
            posted.append(request.post_data)

    guest.page.on("request", sent)
    guest.signs_in()
    guest.say("Show my profile")
    guest.hears("Here is your guest record", times=2)

    assert len(posted) >= 4
    assert "eyJ" not in "".join(posted)
    assert "eyJ" not in guest.page.content()


def test_expired_code_offers_a_new_one(guest: Guest) -> None:
    guest.page.clock.install()
    guest.asks_for_code()
    guest.page.clock.fast_forward("05:01")
    expect(guest.page.get_by_text(re.compile("expired", re.IGNORECASE)).first).to_be_visible()
    expect(guest.page.get_by_role("button", name="Send a new code")).to_be_enabled()


def test_new_code_is_sent_on_request(guest: Guest, stack: Deployment) -> None:
    guest.page.clock.install()
    first = guest.asks_for_code()
    new_code = guest.page.get_by_role("button", name="Send a new code")
    expect(new_code).to_be_hidden()
    stack.age_ledger(guest.address, 31)
    guest.page.clock.fast_forward("00:31")
    new_code.click()
    second = guest.mailed_code(mails=2)
    assert first != second
    guest.enters(second)
    guest.is_signed_in()


def test_reload_keeps_the_guest_signed_in(guest: Guest) -> None:
    guest.signs_in()
    guest.page.reload()
    guest.is_signed_in()
    guest.say("Show my profile")
    guest.hears(guest.address)


def test_sign_in_and_sign_out_reach_the_other_tab(new_tab: Callable[[], Guest]) -> None:
    here, there = new_tab(), new_tab()
    here.signs_in()
    there.is_signed_in(here.address)

    there.page.get_by_role("button", name="Sign out").click()

    there.is_anonymous()
    here.is_anonymous()
    expect(here.log.get_by_text(here.address)).to_have_count(0)


def test_expired_access_token_is_refreshed_without_a_word(guest: Guest) -> None:
    guest.signs_in()
    before = guest.session()
    assert before is not None
    guest.changes_session(expiresAt=1)

    guest.say("Show my profile")

    guest.hears("Here is your guest record", times=2)
    after = guest.session()
    assert after is not None
    assert after["accessToken"] != before["accessToken"]
    assert after["sub"] == before["sub"]


def test_revoked_session_ends_in_a_plain_sentence_and_the_chat_goes_on(
    guest: Guest, stack: Deployment
) -> None:
    """T29."""
    guest.signs_in()
    session = guest.session()
    assert session is not None
    stack.cognito.revoke_token(
        Token=session["refreshToken"], ClientId=stack.outputs["UserPoolClientId"]
    )
    guest.changes_session(expiresAt=1)

    guest.say("Show my profile")

    guest.is_anonymous()
    expect(guest.page.get_by_text("Your sign-in has ended")).to_be_visible()
    expect(guest.log.get_by_text(guest.address)).to_have_count(0)
    guest.say("When is breakfast?")
    guest.hears("7:30")


def test_storage_that_is_full_keeps_the_guest_signed_in_for_this_tab(guest: Guest) -> None:
    guest.page.evaluate(
        "() => { Storage.prototype.setItem = () => { throw new DOMException('full'); } }"
    )
    guest.signs_in()
    expect(guest.page.get_by_text("you are signed in until you close it")).to_be_visible()
    guest.say("Show my profile")
    guest.hears("Here is your guest record", times=2)


@pytest.mark.parametrize("minutes", [-10, 10])
def test_clock_that_is_off_changes_nothing(guest: Guest, minutes: int) -> None:
    guest.page.clock.install(time=datetime.now(UTC) + timedelta(minutes=minutes))
    guest.page.reload()
    guest.signs_in()
    before = guest.session()
    guest.say("Show my profile")
    guest.hears("Here is your guest record", times=2)
    assert guest.session() == before


def test_lost_network_is_told_and_the_chat_goes_on(guest: Guest) -> None:
    guest.say("When is breakfast?")
    guest.hears("7:30")
    guest.page.context.set_offline(True)
    guest.say("Is there parking?")
    expect(guest.page.get_by_role("alert").first).to_be_visible()
    guest.page.context.set_offline(False)
    guest.say("Is there parking?")
    guest.hears("free parking")


def test_answer_cut_off_half_way_is_told_and_the_chat_goes_on(guest: Guest) -> None:
    half = (
        'data: {"type": "start"}\n\n'
        'data: {"type": "text-start", "id": "1"}\n\n'
        'data: {"type": "text-delta", "id": "1", "delta": "There is fr'
    )
    guest.page.route(
        "**/invocations",
        lambda route: route.fulfill(content_type="text/event-stream", body=half),
        times=1,
    )
    guest.say("Is there parking?")
    expect(guest.page.get_by_role("alert").first).to_be_visible()
    guest.say("Is there parking?")
    guest.hears("free parking")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible_and_fits_a_small_screen(guest: Guest, axe: str, scheme: str) -> None:
    guest.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    guest.asks_for_code()
    for width in (360, 1280):
        guest.page.set_viewport_size({"width": width, "height": 780})
        assert guest.page.evaluate("document.documentElement.scrollWidth") <= width
        guest.page.evaluate(axe)
        violations = guest.page.evaluate(_AXE)["violations"]
        assert [each["id"] for each in violations] == []
        guest.page.screenshot(path=SCREENSHOTS / f"code-box-{scheme}-{width}.png")
