"""A real Chromium in front of the whole chat: page, agent, Cognito, mailbox."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page

from infra.local.ministack import ROOT
from tests.support.agent_process import running_agent
from tests.support.deployment import Deployment
from tests.support.guest import Guest


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Take Debian's Chromium where there is one, and let it call nothing of its own accord."""
    return {
        **browser_type_launch_args,
        "executable_path": shutil.which("chromium"),
        "args": [
            "--no-sandbox",
            "--disable-quic",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
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
    """Run the chat."""
    if not (ROOT / "agent" / "web" / "dist" / "index.html").exists():
        raise RuntimeError("the page is not built: run `make page`")
    directory = tmp_path_factory.mktemp("chat")
    with running_agent(directory, stack.outputs, program=("-m", "infra.local.chat")) as url:
        yield url


@pytest.fixture
def new_tab(
    context: BrowserContext,
    stack: Deployment,
    chat_url: str,
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
        page.goto(chat_url)
        tabs.append(page)
        return Guest(page, stack)

    yield open_tab
    for number, page in enumerate(tabs):
        page.screenshot(path=screenshots / f"{request.node.name}-{number}.png")
    assert not [line for line in console if "eyJ" in line or "Content Security" in line]


@pytest.fixture
def guest(new_tab: Callable[[], Guest]) -> Guest:
    """Open one tab for a guest."""
    return new_tab()


@pytest.fixture(scope="session")
def axe() -> str:
    """Read the accessibility checker's script."""
    script = ROOT / "agent" / "web" / "node_modules" / "axe-core" / "axe.min.js"
    return script.read_text("utf-8")
