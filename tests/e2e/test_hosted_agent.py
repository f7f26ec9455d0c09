"""The agent's bundle as AgentCore starts it: `main.py`, with nothing else on the path."""

import json
import platform
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from infra import bundling
from infra.local.serving import agent_environment
from tests.support.agent_process import Chat, running_agent, sign_in
from tests.support.chunks import outputs_of
from tests.support.deployment import Deployment, http, new_address

# Neither this environment's packages nor variables that lead to others.
_ALONE = ("-S", "-E")
_HERE = {"linux": f"{platform.machine()}-manylinux_2_28", "darwin": "macos"}
_OTHER_LOOPBACK = "127.0.0.2"
_NAMES = re.compile(r"^import time: .*\| +(\w+)", re.MULTILINE)
_PARTS = {"_yaml", "cffi", "multipart"}  # of PyYAML, cryptography, python-multipart
# What is no module, but its description or its types.
_DESCRIPTIONS = ("*.dist-info", "*-stubs", "__pycache__")


@pytest.fixture(scope="module")
def main_py(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack what is deployed, but for packages that run on this machine."""
    folder = tmp_path_factory.mktemp("hosted")
    archive = shutil.make_archive(
        str(folder / "bundle"), "zip", bundling.build_agent(platform=_HERE[sys.platform])
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
    with running_agent(tmp_path, stack.outputs, program=(*_ALONE, str(main_py))) as url:
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
    with running_agent(tmp_path, stack.outputs, program=(*_ALONE, str(main_py))) as url:
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
    with running_agent(tmp_path, stack.outputs, program=(*_ALONE, str(main_py))) as url:
        assert answers_on_another_interface(url)
    assert not answers_on_another_interface(agent_url)


def test_bundle_has_no_package_that_the_agent_does_not_import(
    stack: Deployment, main_py: Path, tmp_path: Path
) -> None:
    """With a Bedrock model, as most are hosted."""
    settings = agent_environment(tmp_path, stack.outputs) | {"MODEL_ID": "example.model-v1"}
    code = (
        f"import sys; sys.path.insert(0, {str(main_py.parent)!r}); sys.argv = ['main.py'];"
        "from agent import main; main.serve = lambda *_, **__: None;"
        "main.main(hosted=True); import uvicorn"
    )
    done = subprocess.run(
        [sys.executable, *_ALONE, "-X", "importtime", "-c", code],
        env=settings,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    described = {path for pattern in _DESCRIPTIONS for path in main_py.parent.glob(pattern)}
    there = {path.name.partition(".")[0] for path in set(main_py.parent.iterdir()) - described}
    # What runs, what serves, and parts of packages that are imported.
    assert there - set(_NAMES.findall(done.stderr)) == {"main", "h11"} | _PARTS
