"""README's Python, run as it stands there."""

import asyncio
import json
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.service.offline_model import OfflineModel
from agent.sign_in.outcomes import ErrorCode
from infra.local.ministack import ROOT
from infra.local.serving import agent_environment
from tests.support.deployment import Deployment

_SYNTHESISE = """
import json, sys
from aws_cdk import App, Stack, assertions
shop = Stack(App(), "Shop")
exec(sys.stdin.read(), {"self": shop})
resources = assertions.Template.from_stack(shop).to_json()["Resources"]
print(json.dumps(sorted(each["Type"] for each in resources.values())))
"""


def section(title: str) -> str:
    """Return the text of a section of README."""
    readme = (ROOT / "README.md").read_text()
    found = re.search(rf"^## {title}$(.*?)^## ", readme, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def python_block(title: str) -> str:
    """Return the only block of Python in a section."""
    (block,) = re.findall(r"^```python\n(.*?)^```", section(title), re.MULTILINE | re.DOTALL)
    return str(block)


def test_any_agent_signs_a_guest_in_with_the_code_in_readme(
    stack: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme: dict[str, Any] = {"model": OfflineModel()}
    address = f"ada-{secrets.token_hex(6)}@example.com"

    async def outputs(prompt: str, code: str | None = None, chat: str = "a-chat") -> list[Any]:
        chunks = [chunk async for chunk in readme["answer"](chat, prompt, code)]
        assert [chunks[0]["type"], chunks[-1]["type"]] == ["start", "finish"]
        return [each["output"] for each in chunks if each["type"] == "tool-output-available"]

    with monkeypatch.context() as environment:
        for name, value in agent_environment(tmp_path, stack.outputs).items():
            environment.setenv(name, value)
        exec(python_block("In your own agent"), readme)  # noqa: S102 - that is the test
        (sent,) = asyncio.run(outputs(f"I'm Ada, {address}"))
        assert sent["status"] == "code_sent"
        code = stack.code_mailed_to(address)
        (event,) = asyncio.run(outputs("", code))
        asyncio.run(outputs("Hello", chat="another-chat"))

    documented = re.findall(r'^{"event_type".*?}$', section("In your own agent"), re.M | re.S)
    assert list(event) == list(json.loads(documented[0]))
    assert event["cognito_sub"] == stack.attributes(address)["sub"]
    seen_by_the_model = str(readme["agents"]["a-chat"].messages)
    assert "You are signed in" in seen_by_the_model
    assert address in seen_by_the_model
    assert address not in str(readme["agents"]["another-chat"].messages)
    for secret in (code, event["id_token"], event["access_token"], event["refresh_token"]):
        assert secret not in seen_by_the_model


def test_pool_goes_into_any_stack_with_the_files_that_readme_names(tmp_path: Path) -> None:
    copied = re.search(r"^Copy (.*?)\. ", section("In your own stack"), re.MULTILINE | re.DOTALL)
    assert copied
    folder = ""
    for name in re.findall(r"`([^`]+)`", copied[1]):
        source = Path(name) if "/" in name else Path(folder, name)
        folder = str(source.parent)
        (tmp_path / source.parent).mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            shutil.copytree(ROOT / source, tmp_path / source)
        else:
            shutil.copyfile(ROOT / source, tmp_path / source)

    synthesised = subprocess.run(
        [sys.executable, "-c", _SYNTHESISE],
        cwd=tmp_path,
        input=python_block("In your own stack"),
        capture_output=True,
        text=True,
        check=False,
    )

    assert synthesised.returncode == 0, synthesised.stderr[-2000:]
    types = json.loads(synthesised.stdout)
    assert types.count("AWS::Lambda::Function") == 3
    assert {"AWS::Cognito::UserPool", "AWS::Cognito::UserPoolClient"} <= set(types)


_IMPORT = """
import sys
from shop.login import EmailOtp, TokenDeliveryEvent, load_settings, ui_message_chunks
assert "strands" not in sys.modules
from shop.login import email_otp_tools
print(*(tool.tool_name for tool in email_otp_tools()))
assert not [name for name in sys.modules if name.partition(".")[0] == "agent"]
"""


def test_library_works_alone_under_any_name_and_its_face_loads_no_strands(tmp_path: Path) -> None:
    assert "Copy the folder `agent/sign_in`, under any name" in section("In your own agent")
    shutil.copytree(ROOT / "agent" / "sign_in", tmp_path / "shop" / "login")
    imported = subprocess.run(
        [sys.executable, "-c", _IMPORT], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert imported.stdout.split() == [
        "initiate_cognito_login",
        "verify_cognito_otp",
        "get_guest_profile",
    ], imported.stderr


def test_every_error_code_and_outcome_of_the_agent_is_in_readme() -> None:
    assert "CODE_STILL_GOOD" in section("Test in the AWS console")
    for error_code in ErrorCode:
        assert f"`{error_code}`" in section("In your own agent")
