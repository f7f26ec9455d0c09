"""The chat page in a real Chromium, as a guest uses it."""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, override

import pytest
from playwright.sync_api import BrowserContext, Request, Route, expect

from tests.support.deployment import Deployment, http, other_than
from tests.support.guest import MESSAGES, STORAGE_KEY, Guest
from tests.support.http_server import QuietHandler, answering

_AXE = "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})"


# Strings with a token among all that React keeps of the page, and how many objects it keeps.
# A JWT's first part; an id of a message is too short, although one in 1,700 has `eyJ` in it.
_TOKEN = r"eyJ[\w-]{14}"
_TOKENS_IN_REACT = """(pattern) => {
  const root = document.getElementById('root');
  const todo = [root[Object.keys(root).find((key) => key.startsWith('__reactContainer$'))]];
  const seen = new Set();
  const tokens = [];
  while (todo.length) {
    const value = todo.pop();
    if (typeof value === 'string' && value.match(pattern)) tokens.push(value);
    if (value === null || typeof value !== 'object' || value instanceof Node) continue;
    if (value === window || seen.has(value)) continue;
    seen.add(value);
    for (const part of Object.values(value)) todo.push(part);
  }
  return [tokens.length, seen.size];
}"""


def _posting(prompt: str) -> str:
    return json.dumps({"prompt": prompt, "locale": "en-US"}, separators=(",", ":"))


def _refreshes(request: Request) -> bool:
    return request.headers.get("x-amz-target", "").endswith(".GetTokensFromRefreshToken")


def _revokes(request: Request) -> bool:
    return request.headers.get("x-amz-target", "").endswith(".RevokeToken")


def _from_cognito(route: Route, stack: Deployment) -> Any:
    """Pass a request on; Playwright would look for Cognito itself, not for what plays it."""
    headers = {name: route.request.headers[name] for name in ("content-type", "x-amz-target")}
    answer = http.post(
        stack.outputs["endpoint_url"], headers=headers, content=route.request.post_data
    )
    return answer.raise_for_status().json()


def test_mailbox_is_beside_the_local_chat_alone(guest: Guest) -> None:
    guest.asks_for_code()
    mailbox = guest.page.get_by_role("region", name="Mailbox")
    if guest.chat.name == "local":
        expect(mailbox.get_by_text(f"To {guest.address}")).to_be_visible()
    else:
        expect(mailbox).to_have_count(0)


def test_anonymous_question_needs_no_sign_in(guest: Guest) -> None:
    guest.say("When is breakfast?")
    guest.hears("7:30")
    guest.is_anonymous()
    expect(guest.code_box).to_be_hidden()


def test_nothing_is_sent_without_words_or_while_an_answer_comes(guest: Guest) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    guest.page.route(MESSAGES, hold, times=1)
    posted = guest.posted()
    guest.message_box.fill("  ")
    guest.message_box.press("Enter")
    guest.message_box.fill("When is breakfast?")
    guest.message_box.press("Enter")
    expect(guest.log.get_by_text("Writing")).to_be_visible()
    guest.message_box.fill("Is there parking?")
    guest.message_box.press("Enter")
    expect(guest.message_box).to_have_value("Is there parking?")
    guest.waits_until(lambda: len(held) == 1)
    held[0].fallback()
    guest.hears("7:30")
    assert posted == [_posting("When is breakfast?")]


def test_code_box_signs_in_after_a_wrong_code_and_the_question_is_asked_again_once(
    guest: Guest,
) -> None:
    code = guest.asks_for_code()
    expect(guest.code_box).to_be_focused()
    expect(guest.code_box).to_have_attribute("autocomplete", "one-time-code")
    expect(guest.code_box).to_have_attribute("inputmode", "numeric")

    guest.enters(other_than(code))
    guest.hears("That code is not right")
    expect(guest.code_box).to_be_focused()
    expect(guest.code_form.get_by_text("2 tries left")).to_be_visible()
    expect(guest.code_form).to_contain_text(re.compile(r"new code in 0:[23]\d"))
    guest.enters(f"{code[:3]} {code[3:]}")

    guest.is_signed_in()
    guest.hears("Here is your guest record")
    session = guest.session()
    assert session is not None
    assert session["email"] == guest.address
    expect(guest.log.get_by_text("Show my bookings")).to_have_count(2)
    expect(guest.code_box).to_be_hidden()
    expect(guest.message_box).to_be_focused()


def test_code_box_takes_digits_alone_and_posts_none_too_few(guest: Guest) -> None:
    guest.asks_for_code()
    posted = guest.posted()
    guest.code_box.fill("\uff11\uff12-3 and 4")  # full-width digits
    expect(guest.code_box).to_have_value("1234")
    guest.button("Sign in").click()
    expect(guest.page.get_by_text("The code has 6 digits.")).to_be_visible()
    expect(guest.code_box).to_be_focused()
    guest.code_box.fill("1234567")
    guest.button("Sign in").click()
    expect(guest.page.get_by_text("The code has 6 digits.")).to_be_visible()
    assert posted == []


def test_long_code_is_typed_in_groups_and_signs_in(
    guest: Guest, stack: Deployment, axe: str, screenshots: Path
) -> None:
    """T02: after ten wrong answers."""
    guest.address = stack.new_user()
    challenge = stack.initiate(guest.address)
    short_code = stack.code_mailed_to(guest.address)
    for _ in range(5):
        challenge = stack.respond(challenge, other_than(short_code))
        stack.respond(challenge, other_than(short_code))
        challenge = stack.initiate(guest.address)
    stack.age_ledger(guest.address, 31)
    guest.asks_for_code()
    code = guest.mailed_code(mails=2).replace(" ", "")
    groups = [code[start : start + 4] for start in range(0, 16, 4)]
    expect(guest.code_form).to_contain_text("16 digits")

    guest.code_box.press_sequentially(code[:8])
    expect(guest.code_box).to_have_value(" ".join(groups[:2]))
    # Each way, a blank is deleted first and then the digit behind it.
    for key in ("Home", *["ArrowRight"] * 4, "Delete", "Delete", "Backspace", "Backspace"):
        guest.code_box.press(key)
    expect(guest.code_box).to_have_value(f"{code[:3]}{code[5]} {code[6:8]}")
    guest.code_box.press_sequentially(code[3:5])
    guest.code_box.press("End")
    guest.code_box.press_sequentially(f"-{code[8:]}9")
    expect(guest.code_box).to_have_value(" ".join(groups))

    guest.page.set_viewport_size({"width": 320, "height": 780})
    for shown in (guest.code_box, guest.code_form):
        assert shown.evaluate("element => element.scrollWidth <= element.clientWidth")
    guest.page.evaluate(axe)
    assert guest.page.evaluate(_AXE)["violations"] == []
    guest.page.screenshot(path=screenshots / f"long-code-{guest.chat.name}-320.png")
    guest.button("Sign in").click()
    guest.is_signed_in()


def test_long_code_of_a_newer_mail_is_pasted_whole_and_posted(guest: Guest) -> None:
    guest.asks_for_code()
    posted = guest.posted()
    guest.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    guest.page.evaluate("text => navigator.clipboard.writeText(text)", "4071 9336 0258 1147\n")
    guest.code_box.press("Control+V")
    expect(guest.code_box).to_have_value("4071 9336 0258 1147")
    guest.button("Sign in").click()
    expect(guest.code_form.get_by_text("2 tries left")).to_be_visible(timeout=15_000)
    assert ['"code":"4071933602581147"' in each for each in posted] == [True]


def test_code_box_takes_a_pasted_code_in_digits_of_another_script(guest: Guest) -> None:
    code = guest.asks_for_code()
    arabic = "".join(chr(0x660 + int(digit)) for digit in code)
    guest.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    # With the marks that a text from right to left is copied with.
    text = f"\u200f{arabic[:3]} {arabic[3:]}\u2069"
    guest.page.evaluate("text => navigator.clipboard.writeText(text)", text)
    guest.code_box.press("Control+V")
    expect(guest.code_box).to_have_value(code)
    guest.button("Sign in").click()
    guest.is_signed_in()


def test_code_box_takes_digits_of_another_script_as_they_are_typed(guest: Guest) -> None:
    guest.asks_for_code()
    guest.code_box.press_sequentially("\u06f1\u06f2\u096d0\U0001d7f5")
    expect(guest.code_box).to_have_value("12709")


def test_code_box_keeps_the_caret_in_its_place(guest: Guest) -> None:
    guest.asks_for_code()
    guest.code_box.fill("1256")
    for key in ("ArrowLeft", "ArrowLeft", "3", "x", "4"):
        guest.code_box.press(key)
    expect(guest.code_box).to_have_value("123456")


def test_code_box_leaves_alone_what_an_input_method_composes(guest: Guest) -> None:
    guest.asks_for_code()
    code = "\uff11\uff12\uff13\uff14\uff15\uff16"
    keyboard = guest.page.context.new_cdp_session(guest.page)
    guest.code_box.focus()
    for end in range(1, 7):
        composed = {"text": code[:end], "selectionStart": end, "selectionEnd": end}
        keyboard.send("Input.imeSetComposition", composed)
    keyboard.send("Input.insertText", {"text": code})
    expect(guest.code_box).to_have_value("123456")


@pytest.mark.browser_context_args(locale="de-AT")
def test_new_guests_mail_is_in_the_browsers_language(guest: Guest, stack: Deployment) -> None:
    guest.asks_for_code()
    (mail,) = stack.mails_to(guest.address)
    assert mail["Subject"] == "Ihr Anmeldecode für Guest desk"


def test_typed_code_signs_in(guest: Guest) -> None:
    code = guest.asks_for_code()
    guest.say(f"It's {code}")
    guest.is_signed_in()


def test_no_token_reaches_the_page_or_any_other_request(guest: Guest) -> None:
    """T22: tokens are in the storage, the bearer header and Cognito's own requests alone.

    Beside a member's there is an anonymous guest's, which STS changes for credentials.
    """
    posted = guest.posted()
    requests: list[str] = []

    def sent(request: Request) -> None:
        own = ("authorization", "x-amz-security-token")
        headers = {k: v for k, v in request.headers.items() if k not in own}
        if "x-amz-target" not in headers and "//sts." not in request.url:
            requests.append(f"{request.url} {headers} {request.post_data}")

    guest.page.on("request", sent)
    guest.signs_in()
    guest.say("Show my profile")
    guest.hears("Here is your guest record", times=2)

    assert len(posted) >= 4
    assert not re.search(_TOKEN, "".join(posted))
    assert len(requests) > len(posted)
    assert not re.search(_TOKEN, guest.page.content() + str(requests))
    assert re.search(_TOKEN, guest.page.evaluate("JSON.stringify(localStorage)"))
    tokens, objects = guest.page.evaluate(_TOKENS_IN_REACT, _TOKEN)
    assert tokens == 0
    assert objects > 300


def test_expired_code_offers_a_new_one_or_to_be_put_away(guest: Guest) -> None:
    guest.page.clock.install()
    guest.asks_for_code()
    expect(guest.button("Close")).to_be_hidden()
    guest.page.clock.fast_forward("05:01")
    expect(guest.page.get_by_text(re.compile("expired", re.IGNORECASE)).first).to_be_visible()
    expect(guest.button("Send a new code")).to_be_focused()
    guest.button("Close").click()
    expect(guest.code_form).to_be_hidden()
    expect(guest.message_box).to_be_focused()


def test_code_box_that_was_put_away_is_back_for_the_next_login(guest: Guest) -> None:
    code = guest.asks_for_code()
    for tries_left in ("2 tries", "1 try", "No code can be entered"):
        guest.enters(other_than(code))
        expect(guest.code_form.get_by_text(tries_left)).to_be_visible(timeout=15_000)
    guest.button("Close").click()
    expect(guest.code_form).to_be_hidden()
    expect(guest.message_box).to_be_focused()

    guest.say("Please send a new code")
    expect(guest.code_box).to_be_focused(timeout=15_000)
    guest.enters(code)
    guest.is_signed_in()


def test_new_code_is_sent_on_request(guest: Guest, stack: Deployment) -> None:
    guest.page.clock.install()
    first = guest.asks_for_code()
    new_code = guest.button("Send a new code")
    expect(new_code).to_be_hidden()
    guest.code_box.fill("12")
    stack.age_ledger(guest.address, 31)
    guest.page.clock.fast_forward("00:31")
    new_code.click()
    expect(new_code).to_be_hidden(timeout=15_000)  # the mail is there before the answer
    expect(guest.code_box).to_have_value("")
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
    there.say("When is breakfast?")
    there.hears("7:30")
    here.page.bring_to_front()
    here.signs_in()
    there.is_signed_in(here.address)
    there.hears("7:30", times=0)
    there.say("Show my profile")
    there.hears(here.address)

    with there.page.expect_request(_revokes):
        there.button("Sign out").click()

    for tab in (there, here):
        tab.is_anonymous()
        tab.hears(here.address, times=0)


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


def test_t29_two_tabs_that_need_a_refresh_make_one_at_a_time(new_tab: Callable[[], Guest]) -> None:
    here, there = new_tab(), new_tab()
    here.page.bring_to_front()
    here.signs_in()
    there.is_signed_in(here.address)
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if _refreshes(route.request):
            held.append(route)
        if held != [route]:
            route.fallback()

    here.page.context.route(lambda _url: True, hold_the_first)
    for tab in (here, there):
        tab.page.bring_to_front()
        tab.message_box.fill("Show my profile")
    here.changes_session(expiresAt=1)
    for tab in (here, there):
        tab.page.evaluate("document.querySelector('form.composer').requestSubmit()")
    waiting = "navigator.locks.query().then((locks) => locks.pending.length)"
    there.waits_until(lambda: bool(there.page.evaluate(waiting)))
    there.page.wait_for_timeout(200)  # time for a second one, which must not come yet
    assert len(held) == 1
    held[0].fallback()

    here.hears("Here is your guest record", times=2)
    there.hears("Here is your guest record")
    for tab in (here, there):
        tab.is_signed_in(here.address)


def test_t29_refresh_under_way_in_one_tab_does_not_undo_the_sign_out_in_another(
    new_tab: Callable[[], Guest], stack: Deployment
) -> None:
    here, there = new_tab(), new_tab()
    here.page.bring_to_front()
    here.signs_in()
    there.is_signed_in(here.address)
    held: list[Route] = []

    def hold(route: Route) -> None:
        if _refreshes(route.request):
            held.append(route)
        else:
            route.fallback()

    here.page.context.route(lambda _url: True, hold)
    here.changes_session(expiresAt=1)  # the other tab hears of it, and refreshes unasked
    there.waits_until(lambda: held != [])
    answer = _from_cognito(held[0], stack)  # the tokens, which arrive after the sign-out
    with here.page.expect_request(_revokes):
        here.button("Sign out").click()
    there.is_anonymous()
    with there.page.expect_request(_revokes):
        held[0].fulfill(json=answer)

    for tab in (here, there):
        tab.is_anonymous()


def test_t29_two_tabs_that_refresh_at_once_stay_signed_in(
    context: BrowserContext, new_tab: Callable[[], Guest], stack: Deployment
) -> None:
    """T29: the tab that is first to store its answer has the token that Cognito has replaced."""
    context.add_init_script("Object.defineProperty(navigator, 'locks', {value: undefined})")
    here, there = new_tab(), new_tab()
    here.page.bring_to_front()
    here.signs_in()
    there.is_signed_in(here.address)
    held: list[Route] = []

    def hold_two(route: Route) -> None:
        if _refreshes(route.request) and len(held) < 2:
            held.append(route)
        else:
            route.fallback()

    context.route(lambda _url: True, hold_two)
    here.changes_session(expiresAt=1)  # the other tab hears of it, and refreshes unasked
    here.say("Show my profile")
    here.waits_until(lambda: len(held) == 2)
    older, newer = (_from_cognito(route, stack) for route in held)
    replaced = older["AuthenticationResult"]["RefreshToken"]
    stored = "JSON.parse(localStorage.getItem(key)).refreshToken"
    held[0].fulfill(json=older)
    here.page.wait_for_function(
        f"([key, token]) => {stored} === token", arg=[STORAGE_KEY, replaced]
    )
    held[1].fulfill(json=newer)
    here.hears("Here is your guest record", times=2)
    here.page.wait_for_function(
        f"([key, token]) => {stored} !== token", arg=[STORAGE_KEY, replaced]
    )

    here.changes_session(expiresAt=1)
    here.say("Show my profile")

    here.hears("Here is your guest record", times=3)
    for tab in (here, there):
        tab.is_signed_in(here.address)
        expect(tab.page.get_by_text("Your sign-in has ended")).to_be_hidden()


def test_message_goes_through_though_another_tab_holds_the_lock_for_good(
    new_tab: Callable[[], Guest], stack: Deployment
) -> None:
    here, there = new_tab(), new_tab()
    here.page.bring_to_front()
    here.signs_in()
    there.page.evaluate(
        "name => void navigator.locks.request(name, () => new Promise(() => {}))",
        f"{STORAGE_KEY}:{stack.outputs['UserPoolClientId']}",
    )
    here.changes_session(expiresAt=1)
    here.say("Show my profile")
    here.hears("Here is your guest record", times=2)


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


def test_token_that_the_agent_refuses_behind_agentcore_is_refreshed_or_ends_the_sign_in(
    guest: Guest, stack: Deployment
) -> None:
    """T29: AgentCore discards a 401; the page takes both tokens for good until it is told."""
    guest.signs_in()
    first = guest.session()
    assert first is not None
    posted = guest.posted()
    # Its signature is wrong; the page, which cannot check that, sends it.
    guest.changes_session(accessToken=first["accessToken"][:-8] + "AAAAAAAA")
    guest.say("Show my profile")
    guest.hears("Here is your guest record", times=2)
    renewed = guest.session()
    assert renewed is not None
    assert renewed["accessToken"] != first["accessToken"]
    assert posted == [_posting("Show my profile")] * 2

    stack.cognito.revoke_token(
        Token=renewed["refreshToken"], ClientId=stack.outputs["UserPoolClientId"]
    )
    guest.changes_session(accessToken=renewed["accessToken"][:-8] + "AAAAAAAA")
    guest.say("Show my profile")
    guest.is_anonymous()
    expect(guest.page.get_by_text("Your sign-in has ended")).to_be_visible()
    assert len(posted) == 3
    guest.say("When is breakfast?")
    guest.hears("7:30")


def test_message_that_agentcore_did_not_take_is_sent_again_by_itself(guest: Guest) -> None:
    posted = guest.posted()
    guest.chat.is_busy_next()
    guest.say("When is breakfast?")
    guest.hears("7:30")
    assert posted == [_posting("When is breakfast?")] * 2


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
    expect(guest.page.get_by_text("cannot be reached")).to_be_visible()
    guest.page.context.set_offline(False)
    guest.say("When is check-in?")
    expect(guest.button("Try again")).to_be_hidden()
    expect(guest.page.get_by_text("cannot be reached")).to_be_hidden()
    guest.hears("15:00")


def test_try_again_sends_the_last_question_alone_and_once(guest: Guest) -> None:
    guest.say("When is breakfast?")
    guest.hears("7:30")
    guest.page.context.set_offline(True)
    guest.say("Is there parking?")
    expect(guest.button("Try again")).to_be_visible()
    guest.page.context.set_offline(False)
    posted = guest.posted()

    guest.button("Try again").dblclick()

    guest.hears("free parking")
    expect(guest.button("Try again")).to_be_hidden()
    expect(guest.log.get_by_text("Is there parking?")).to_have_count(1)
    assert posted == [_posting("Is there parking?")]


def test_answer_cut_off_half_way_is_told_and_asked_for_again(guest: Guest) -> None:
    guest.answer_is_cut_off(
        {"type": "start"},
        {"type": "text-start", "id": "1"},
        {"type": "text-delta", "id": "1", "delta": "There was no"},
    )
    guest.say("Is there parking?")
    expect(guest.page.get_by_text("cut off")).to_be_visible()
    guest.hears("There was no")
    guest.button("Try again").press("Enter")
    expect(guest.message_box).to_be_focused()
    guest.hears("free parking")
    guest.hears("There was no", times=0)


class _BeginsAnAnswer(QuietHandler):
    """Begins an answer; what becomes of it differs."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.write({"type": "start"}, {"type": "text-start", "id": "1"})
        self.write({"type": "text-delta", "id": "1", "delta": "There was no"})
        self.go_on()
        self.close_connection = True

    def write(self, *chunks: dict[str, str]) -> None:
        for chunk in chunks:
            frame = f"data: {json.dumps(chunk)}\n\n".encode()
            self.wfile.write(f"{len(frame):x}\r\n".encode() + frame + b"\r\n")

    def go_on(self) -> None:
        raise NotImplementedError


class _LosesTheConnection(_BeginsAnAnswer):
    @override
    def go_on(self) -> None:
        time.sleep(0.5)  # what is sent is to arrive first
        self.connection.shutdown(socket.SHUT_RDWR)


class _FallsSilent(_BeginsAnAnswer):
    left: ClassVar[threading.Event]

    @override
    def go_on(self) -> None:
        self.connection.recv(1)
        self.left.set()


class _EndsButKeepsTheConnection(_FallsSilent):
    @override
    def go_on(self) -> None:
        self.write({"type": "text-end", "id": "1"}, {"type": "finish"})
        super().go_on()


@contextmanager
def _next_answer(guest: Guest, handler: type[_BeginsAnAnswer]) -> Iterator[None]:
    with answering(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as url:
        guest.chat.is_answered_next(guest.page, f"{url}/invocations")
        yield


def test_connection_lost_in_mid_answer_is_told_and_the_question_asked_again(guest: Guest) -> None:
    with _next_answer(guest, _LosesTheConnection):
        guest.say("Is there parking?")
        guest.hears("There was no")
        expect(guest.page.get_by_text("cut off")).to_be_visible()
    guest.button("Try again").click()
    guest.hears("free parking")
    guest.hears("There was no", times=0)


def test_agent_that_falls_silent_is_left_and_the_question_asked_again(guest: Guest) -> None:
    guest.page.clock.install()
    _FallsSilent.left = threading.Event()
    with _next_answer(guest, _FallsSilent):
        guest.say("Is there parking?")
        guest.hears("There was no")
        guest.page.clock.fast_forward("01:00")
        expect(guest.log).to_have_attribute("aria-busy", "true")
        guest.page.clock.fast_forward("00:31")
        expect(guest.page.get_by_text("has not answered for too long")).to_be_visible()
        assert _FallsSilent.left.wait(10)
    guest.button("Try again").click()
    guest.hears("free parking")
    guest.hears("There was no", times=0)


def test_answer_has_ended_though_the_connection_stays_open(guest: Guest) -> None:
    _EndsButKeepsTheConnection.left = threading.Event()
    with _next_answer(guest, _EndsButKeepsTheConnection):
        guest.say("Is there parking?")
        guest.hears("There was no")
        expect(guest.log).to_have_attribute("aria-busy", "false")
        assert _EndsButKeepsTheConnection.left.wait(10)
    guest.say("Is there parking?")
    guest.hears("free parking")


def test_code_is_never_offered_to_be_sent_again(guest: Guest) -> None:
    code = guest.asks_for_code()
    guest.page.context.set_offline(True)
    guest.enters(code)
    expect(guest.page.get_by_text("cannot be reached")).to_be_visible()
    expect(guest.button("Try again")).to_be_hidden()
    expect(guest.code_box).to_have_value("")
    expect(guest.code_box).to_be_focused()
    guest.say(f"It's {code}")
    expect(guest.log).to_contain_text(f"It's {code}")
    expect(guest.log).to_have_attribute("aria-busy", "false")
    expect(guest.button("Try again")).to_be_hidden()
    guest.page.context.set_offline(False)

    ended = {"success": False, "error_code": "MAX_ATTEMPTS_EXCEEDED"}
    call = {"toolCallId": "1", "toolName": "verify_cognito_otp", "input": {}}
    guest.answer_is_cut_off(
        {"type": "start"},
        {"type": "tool-input-available", **call},
        {"type": "tool-output-available", "toolCallId": "1", "output": ended},
    )
    guest.enters(code)
    expect(guest.page.get_by_text("cut off")).to_be_visible()
    expect(guest.code_form.get_by_text("No code can be entered")).to_be_visible()
    expect(guest.button("Try again")).to_be_hidden()


def test_question_that_led_to_the_sign_in_can_be_tried_again(guest: Guest) -> None:
    code = guest.asks_for_code()

    def lost_if_signed_in(route: Route) -> None:
        if route.request.headers.get("authorization", "").startswith("Bearer "):
            route.abort()
        else:
            route.fallback()

    guest.page.route(MESSAGES, lost_if_signed_in)
    guest.enters(code)
    guest.is_signed_in()
    expect(guest.button("Try again")).to_be_visible()
    guest.page.unroute(MESSAGES)
    guest.button("Try again").click()
    guest.hears("Here is your guest record")


def test_new_code_that_is_refused_leaves_the_focus_where_to_type(guest: Guest) -> None:
    guest.page.clock.install()
    guest.asks_for_code()
    guest.page.clock.fast_forward("00:31")
    guest.page.context.set_offline(True)
    expect(guest.button("Send a new code")).to_be_enabled()  # not while an answer comes
    guest.button("Send a new code").press("Enter")
    expect(guest.page.get_by_text("cannot be reached")).to_be_visible()
    expect(guest.message_box).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible_and_fits_a_small_screen(
    guest: Guest, axe: str, screenshots: Path, scheme: str
) -> None:
    guest.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    guest.asks_for_code()
    for width in (360, 1280):
        guest.page.set_viewport_size({"width": width, "height": 780})
        assert guest.page.evaluate("document.documentElement.scrollWidth") <= width
        guest.page.evaluate(axe)
        violations = guest.page.evaluate(_AXE)["violations"]
        assert [each["id"] for each in violations] == []
        guest.page.screenshot(path=screenshots / f"code-box-{guest.chat.name}-{scheme}-{width}.png")
