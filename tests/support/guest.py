"""What a guest does and sees in the page, by the names a screen reader would use."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, override

from playwright.sync_api import Locator, Page, Request, expect

from tests.support.deployment import Deployment, http, new_address
from tests.support.waiting import wait_until

STORAGE_KEY = "booking_session"
MESSAGES = re.compile(r"/invocations(\?|$)")
"""The addresses that messages are posted to."""


class Chat(Protocol):
    """A chat that guests open.

    Attributes:
        name: `local` or `hosted`.
        url: Of the page.
    """

    name: str
    url: str

    def is_busy_next(self) -> None:
        """Let AgentCore not take the next anonymous message, and say that it may come again."""

    def is_answered_next(self, page: Page, address: str) -> None:
        """Let another server answer the next message of a page."""


@dataclass
class LocalChat(Chat):
    """That of `infra.local.chat`."""

    url: str
    name = "local"

    @override
    def is_busy_next(self) -> None:
        http.post(f"{self.url}/_agentcore/conflict").raise_for_status()

    @override
    def is_answered_next(self, page: Page, address: str) -> None:
        page.route(MESSAGES, lambda route: route.continue_(url=address), times=1)


class Guest:
    """One tab."""

    def __init__(self, page: Page, stack: Deployment, chat: Chat) -> None:
        self.page = page
        self.chat = chat
        self.stack = stack
        self.address = new_address()

    @property
    def log(self) -> Locator:
        """Return the conversation."""
        return self.page.get_by_role("log", name="Conversation")

    @property
    def message_box(self) -> Locator:
        """Return the input for a message."""
        return self.page.get_by_role("textbox", name="Message")

    @property
    def code_box(self) -> Locator:
        """Return the input for a code."""
        return self.page.get_by_role("textbox", name="Code")

    @property
    def code_form(self) -> Locator:
        """Return the form around that input; it stays when no code can be entered any more."""
        return self.page.get_by_role("form", name="Sign-in code")

    def button(self, name: str) -> Locator:
        """Return the button of exactly this name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def posted(self) -> list[str]:
        """Return a list that fills with what this tab posts to the agent from now on."""
        posts: list[str] = []

        def sent(request: Request) -> None:
            if request.post_data and MESSAGES.search(request.url):
                posts.append(request.post_data)

        self.page.on("request", sent)
        return posts

    def waits_until(self, condition: Callable[[], bool]) -> None:
        """Wait for what this tab brings about."""
        for _ in range(500):
            if condition():
                return
            self.page.wait_for_timeout(20)
        raise AssertionError("waited in vain")

    def answer_is_cut_off(self, *chunks: dict[str, Any]) -> None:
        """Let the next answer be these chunks, and no end."""
        body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
        self.page.route(
            MESSAGES,
            lambda route: route.fulfill(content_type="text/event-stream", body=body),
            times=1,
        )

    def say(self, text: str) -> None:
        """Type a message and send it."""
        self.message_box.fill(text)
        self.button("Send").click()

    def hears(self, text: str, times: int = 1) -> None:
        """Wait until the agent has said this, so many times."""
        expect(self.log.get_by_text(text)).to_have_count(times, timeout=15_000)

    def asks_for_code(self) -> str:
        """Ask for bookings, give a name and an address, and return the mailed code."""
        self.say("Show my bookings")
        self.hears("What are your e-mail address and your name?")
        self.say(f"Ada Lovelace, {self.address}")
        expect(self.code_box).to_be_visible(timeout=15_000)
        expect(self.log).to_have_attribute("aria-busy", "false")  # the answer goes on below it
        return self.mailed_code()

    def mailed_code(self, mails: int = 1) -> str:
        """Wait until so many mails have come, and return the code in the last."""
        wait_until(lambda: len(self.stack.mails_to(self.address)) >= mails)
        return self.stack.code_mailed_to(self.address)

    def enters(self, code: str) -> None:
        """Use the code box."""
        self.code_box.fill(code)
        self.button("Sign in").click()

    def signs_in(self) -> None:
        """Sign in by the code box, and wait for the question to be answered by itself."""
        self.enters(self.asks_for_code())
        self.is_signed_in()
        self.hears("Here is your guest record")

    def is_signed_in(self, address: str | None = None) -> None:
        """Wait until the page says who is signed in."""
        signed_in = self.page.get_by_text(f"Signed in as {address or self.address}")
        expect(signed_in.first).to_be_visible(timeout=15_000)
        expect(self.page.get_by_role("button", name="Sign out")).to_be_visible()

    def is_anonymous(self) -> None:
        """Wait until the page shows nobody signed in; it keeps no session then."""
        expect(self.page.get_by_role("button", name="Sign out")).to_be_hidden(timeout=15_000)
        assert self.session() is None

    def session(self) -> dict[str, Any] | None:
        """Return what the browser keeps."""
        text = self.page.evaluate("key => localStorage.getItem(key)", STORAGE_KEY)
        return json.loads(text) if text else None

    def changes_session(self, **changes: Any) -> None:
        """Change what the browser keeps."""
        session = json.dumps((self.session() or {}) | changes)
        self.page.evaluate(
            "([key, text]) => localStorage.setItem(key, text)", [STORAGE_KEY, session]
        )
