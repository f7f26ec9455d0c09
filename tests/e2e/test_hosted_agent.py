"""The agent's bundle as AgentCore starts it: `main.py`, with nothing else on the path."""

import ast
import json
import shutil
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from infra import bundling
from infra.local.ministack import ROOT
from infra.local.serving import agent_environment
from tests.support.agent_process import ALONE, THIS_PLATFORM, Chat, running_agent, sign_in
from tests.support.chunks import outputs_of
from tests.support.deployment import Deployment, http, new_address

_OTHER_LOOPBACK = "127.0.0.2"
_PARTS = {"cffi"}  # of cryptography
# For the type checker, or of use to another package only where they are there.
_MAY_BE_MISSING = ("jsonpointer", "multipart", "python_multipart", "types_boto3_")
# Runs `main.py` up to where it would serve, and tells what is there by then.
_START = """
import gc, json, runpy, sys
main_py = sys.argv.pop()
sys.path.insert(0, main_py.rpartition("/")[0])
import uvicorn

def collections():
    return sum(generation["collections"] for generation in gc.get_stats())

def tell(*_, **__):
    print(json.dumps({
        "loaded": sorted(sys.modules),
        "collections": collections() - before,
        "collects": gc.isenabled(),
        "frozen": gc.get_freeze_count(),
    }))

uvicorn.run = tell
before = collections()
runpy.run_path(main_py, run_name="__main__")
"""
# What is no module, but its description or its types.
_DESCRIPTIONS = ("*.dist-info", "*-stubs", "__pycache__")


@pytest.fixture(scope="module")
def main_py(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack what is deployed, but for packages that run on this machine."""
    folder = tmp_path_factory.mktemp("hosted")
    archive = shutil.make_archive(
        str(folder / "bundle"), "zip", bundling.build_agent(platform=THIS_PLATFORM)
    )
    shutil.unpack_archive(archive, folder / "unpacked")
    return folder / "unpacked" / "main.py"


def answers_on_another_interface(url: str) -> bool:
    port = urlsplit(url).port
    assert port
    with socket.socket() as connection:
        return connection.connect_ex((_OTHER_LOOPBACK, port)) == 0


def test_hosted_agent_signs_a_guest_in_and_shows_their_record(
    stack: Deployment, main_py: Path, tmp_path: Path
) -> None:
    with running_agent(tmp_path, stack.outputs, program=(*ALONE, str(main_py))) as url:
        tokens = sign_in(stack, Chat(url), new_address())
        member = Chat(url, access_token=tokens["access_token"])
        (output,) = outputs_of(member.say("Show me my profile"))
        refused, finish = Chat(url, access_token="none").say("Show me my profile")
    assert output["guest"]["guest_id"] == tokens["guest_id"]
    assert json.loads(refused["errorText"])["code"] == "invalid_token"
    assert finish == {"type": "finish"}


def test_t24_no_text_of_a_caller_reaches_the_hosted_agents_log(
    stack: Deployment, main_py: Path, tmp_path: Path
) -> None:
    """T24: AgentCore's library warns of a header that it cannot read, and quotes it."""
    with running_agent(tmp_path, stack.outputs, program=(*ALONE, str(main_py))) as url:
        chat = Chat(url)
        answer = http.post(
            f"{url}/invocations",
            json={"prompt": "Hello"},
            headers=chat.headers() | {"baggage": "QUOTED"},
        )
        assert answer.status_code == 200
    assert "QUOTED" not in (tmp_path / "agent.log").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="has no other loopback address by itself")
def test_agent_answers_on_all_interfaces_only_when_hosted(
    stack: Deployment, agent_url: str, main_py: Path, tmp_path: Path
) -> None:
    """T36."""
    with running_agent(tmp_path, stack.outputs, program=(*ALONE, str(main_py))) as url:
        assert answers_on_another_interface(url)
    assert not answers_on_another_interface(agent_url)


@pytest.fixture(scope="module")
def start(
    stack: Deployment, main_py: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Start with a Bedrock model, as most are hosted; returns what is there when it would serve."""
    directory = tmp_path_factory.mktemp("start")
    settings = agent_environment(directory, stack.outputs) | {"MODEL_ID": "example.model-v1"}
    done = subprocess.run(
        [sys.executable, *ALONE, "-c", _START, str(main_py)],
        env=settings,
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def test_bundle_has_no_package_that_the_agent_does_not_import(
    main_py: Path, start: dict[str, Any]
) -> None:
    described = {path for pattern in _DESCRIPTIONS for path in main_py.parent.glob(pattern)}
    there = {path.name.partition(".")[0] for path in set(main_py.parent.iterdir()) - described}
    loaded = {name.partition(".")[0] for name in start["loaded"]}
    # What runs, what serves, and parts of packages that are imported.
    assert there - loaded == {"main", "h11"} | _PARTS


def test_bundle_has_all_that_its_modules_import_later(main_py: Path, start: dict[str, Any]) -> None:
    """An import in a function fails no earlier than in a guest's turn."""
    here = (ROOT, Path(sysconfig.get_path("purelib")))
    imported = {
        name for module in start["loaded"] for name in imports_of(module, main_py.parent)
    } - set(start["loaded"])
    assert {"agent.service.offline_model", "bedrock_agentcore.runtime.a2a"} <= imported
    assert not {
        name
        for name in imported
        if any(has(folder, name) for folder in here)
        and not has(main_py.parent, name)
        and not name.startswith(_MAY_BE_MISSING)
    }


def test_start_loads_nothing_of_another_model_and_no_parser_that_no_request_needs(
    start: dict[str, Any],
) -> None:
    assert "strands.models.bedrock" in start["loaded"]
    never = {"agent.service.offline_model", "python_multipart", "multipart", "yaml._yaml", "mcp"}
    assert not never & set(start["loaded"])


def test_garbage_is_collected_while_serving_but_not_while_starting(start: dict[str, Any]) -> None:
    assert start["collections"] <= 5  # else 60, mostly in vain
    assert start["collects"] is True
    assert start["frozen"] > 100_000


def has(folder: Path, module: str) -> bool:
    """Tell whether a folder has a module or a package of this name."""
    path = folder.joinpath(*module.split("."))
    return path.is_dir() or any(path.parent.glob(f"{path.name}.*"))


def imports_of(module: str, folder: Path) -> set[str]:
    """Return what a folder's module imports, also inside functions: modules, and names in them."""
    path = folder.joinpath(*module.split("."))
    is_package = (path / "__init__.py").is_file()
    source = path / "__init__.py" if is_package else path.with_name(f"{path.name}.py")
    if not source.is_file():  # Python's own, or in C
        return set()
    package = module.split(".") if is_package else module.split(".")[:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names
