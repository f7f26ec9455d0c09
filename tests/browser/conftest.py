"""A real Chromium in front of the whole chat: page, agent, Cognito, mailbox."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page

from infra.local import ministack
from infra.local.ministack import ROOT
from tests.support.agent_process import running_agent
from tests.support.deployment import Deployment
from tests.support.guest import Chat, Guest, LocalChat
from tests.support.hosted_chat import PAGE, Certificate, HostedChat
from tests.support.template import synthesise

_TELL_VIOLATIONS = """addEventListener('securitypolicyviolation', (event) => {
  console.error(`Content Security: ${event.effectiveDirective} ${event.blockedURI}`);
});"""
CHAT = ("-m", "infra.local.chat")


@pytest.fixture(scope="session")
def front(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Certificate]:
    """Choose where AWS is played, and what it proves itself by."""
    return ministack.free_port(), Certificate.made_in(tmp_path_factory.mktemp("front"))


@pytest.fixture(scope="session")
def browser_type_launch_args(
    browser_type_launch_args: dict[str, Any], front: tuple[int, Certificate]
) -> dict[str, Any]:
    """Take Debian's Chromium where there is one, and let it reach nothing but this machine."""
    port, certificate = front
    return {
        **browser_type_launch_args,
        "executable_path": shutil.which("chromium"),
        "args": [
            "--no-sandbox",
            "--disable-quic",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--host-resolver-rules=MAP * 127.0.0.1:{port}, EXCLUDE 127.0.0.1, EXCLUDE localhost",
            f"--ignore-certificate-errors-spki-list={certificate.fingerprint}",
        ],
    }


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Make the folder for pictures of what the tests saw."""
    folder = ROOT / ".local" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def chat_url(stack: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the local chat."""
    if not (PAGE / "index.html").exists():
        raise RuntimeError("the page is not built: run `make page`")
    with running_agent(tmp_path_factory.mktemp("chat"), stack.outputs, program=CHAT) as url:
        yield url


@pytest.fixture(scope="session")
def hosted_chat(
    stack: Deployment,
    front: tuple[int, Certificate],
    chat_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[HostedChat]:
    """Play the hosted chat; the local one's agent is that of its guests."""
    template = synthesise(agent=True, web=True, model_id="offline")
    with running_agent(tmp_path_factory.mktemp("member"), stack.outputs, program=CHAT) as member:
        chat = HostedChat(stack, template, guest_agent=chat_url, member_agent=member)
        with chat.running(*front):
            yield chat


@pytest.fixture(scope="session", params=["local", "hosted"])
def chat(request: pytest.FixtureRequest) -> Chat:
    """Take each of the two chats."""
    if request.param == "local":
        return LocalChat(request.getfixturevalue("chat_url"))
    hosted: HostedChat = request.getfixturevalue("hosted_chat")
    return hosted


@pytest.fixture
def new_tab(
    context: BrowserContext,
    stack: Deployment,
    chat: Chat,
    screenshots: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Callable[[], Guest]]:
    """Open the chat in tabs of one browser; the console of each must stay clean."""
    console: list[str] = []
    tabs: list[Page] = []

    def heard(message: ConsoleMessage) -> None:
        console.append(message.text)

    def open_tab() -> Guest:
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: console.append(str(error)))
        page.add_init_script(_TELL_VIOLATIONS)
        page.goto(chat.url)
        tabs.append(page)
        return Guest(page, stack, chat)

    yield open_tab
    for number, page in enumerate(tabs):
        page.screenshot(path=screenshots / f"{request.node.name}-{number}.png")
    assert [line for line in console if "eyJ" in line or "Content Security" in line] == []


@pytest.fixture
def guest(new_tab: Callable[[], Guest]) -> Guest:
    """Open one tab for a guest."""
    return new_tab()


@pytest.fixture(scope="session")
def axe() -> str:
    """Read the accessibility checker's script."""
    script = ROOT / "agent" / "web" / "node_modules" / "axe-core" / "axe.min.js"
    return script.read_text("utf-8")
