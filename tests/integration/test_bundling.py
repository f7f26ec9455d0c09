"""The bundles: what is in them, and that the same sources give the same bytes."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infra import bundling
from infra.local.ministack import ROOT

SOURCES = ROOT / "lambdas"
HANDLERS = {
    "define_auth_challenge",
    "create_auth_challenge",
    "verify_auth_challenge_response",
    "forget_unanswered",
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="module")
def bundle(cache: Path) -> Path:
    return bundling.build_triggers(cache=cache)


@pytest.fixture(scope="module")
def agent_bundle(cache: Path) -> Path:
    return bundling.build_agent(cache=cache)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Copy the sources, to change them."""
    return Path(shutil.copytree(SOURCES, tmp_path / "lambdas"))


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("build", [bundling.build_triggers, bundling.build_agent])
def test_two_builds_are_the_same_to_the_byte(
    build: Callable[..., Path], cache: Path, tmp_path: Path
) -> None:
    first, again = build(cache=cache), build(cache=tmp_path)
    assert first.name == again.name
    assert content(first) == content(again)


def test_bundle_has_the_handlers_and_all_that_they_import(bundle: Path) -> None:
    assert {path.stem for path in (bundle / "lambdas").glob("*.py")} >= HANDLERS
    assert (bundle / "lambdas" / "email_otp" / "__init__.py").is_file()
    assert (bundle / "aws_lambda_powertools" / "__init__.py").is_file()
    assert not (bundle / "boto3").exists()


def test_what_lies_beside_the_sources_is_not_in_the_bundle(sources: Path, cache: Path) -> None:
    """Who keeps keys there does not upload them."""
    before = bundling.build_triggers(sources=sources, cache=cache)
    for name in (".env", "notes.txt", "email_otp/key.pem", ".challenge.py.swp"):
        (sources / name).write_text("secret")
    assert bundling.build_triggers(sources=sources, cache=cache) == before


def test_agents_bundle_starts_by_main_and_has_no_test_no_page_and_no_terminal(
    agent_bundle: Path,
) -> None:
    assert "main(hosted=True)" in (agent_bundle / "main.py").read_text()
    assert (agent_bundle / "agent" / "service" / "prompts" / "system.md").is_file()
    names = {path.relative_to(agent_bundle).as_posix() for path in agent_bundle.rglob("*")}
    assert not {name for name in names if re.search(r"(^|/)(tests|bin|conftest\.py)(/|$)", name)}
    terminal = {"agent/try_login.py", "agent/forget.py", "agent/deployment.py"}
    assert not names & {"agent/web", "agent/hosted.py", "mcp", "pytest", *terminal}


def test_agents_bundle_runs_on_arm64_alone_and_may_be_read_by_anybody(agent_bundle: Path) -> None:
    """AgentCore takes nothing else, and runs it as a user of its own."""
    machines = set()
    for path in agent_bundle.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path
        if path.is_file() and (head := path.read_bytes()[:20]).startswith(b"\x7fELF"):
            machines.add(int.from_bytes(head[18:20], "little"))  # e_machine
            assert "aarch64" in path.name or ".abi3." in path.name, path
    assert machines == {0xB7}  # EM_AARCH64


def test_modes_do_not_follow_this_machines_mask(tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        built = bundling.build_triggers(cache=tmp_path)
    finally:
        os.umask(mask)
    assert {path.stat().st_mode & 0o777 for path in built.rglob("*")} == {0o755, 0o644}


def test_every_source_has_bytecode_that_never_goes_stale(bundle: Path, agent_bundle: Path) -> None:
    for source in (*bundle.rglob("*.py"), *agent_bundle.rglob("*.py")):
        bytecode = Path(importlib.util.cache_from_source(str(source), optimization=""))
        flags = int.from_bytes(bytecode.read_bytes()[4:8], "little")
        assert flags == 0b01, f"{bytecode} is not an unchecked, hash-based one (PEP 552)"


def test_nothing_of_this_machine_is_in_the_bundles(
    bundle: Path, agent_bundle: Path, cache: Path
) -> None:
    here = [str(cache).encode(), str(SOURCES).encode(), sys.prefix.encode()]
    for path in (*bundle.rglob("*"), *agent_bundle.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            assert not any(place in content for place in here), path


def test_zipped_bundles_are_at_most_2_5_and_25_mb(
    bundle: Path, agent_bundle: Path, tmp_path: Path
) -> None:
    sizes = [
        Path(shutil.make_archive(str(tmp_path / each.name), "zip", each)).stat().st_size
        for each in (bundle, agent_bundle)
    ]
    assert sizes[0] <= 2_500_000
    assert sizes[1] <= 25_000_000


def test_define_imports_no_aws_client(bundle: Path) -> None:
    code = "import sys, lambdas.define_auth_challenge; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=bundle,
        env={"PYTHONPATH": str(bundle), "POWERTOOLS_SERVICE_NAME": "define_auth_challenge"},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = done.stdout.split()
    assert "lambdas.email_otp" in loaded
    # Powertools itself loads the bare package `botocore`, which is small.
    assert not {"boto3", "botocore.session", "botocore.client"} & set(loaded)


def test_changed_source_gives_another_bundle(bundle: Path, cache: Path, sources: Path) -> None:
    with (sources / "email_otp" / "__init__.py").open("a") as module:
        module.write("CHANGED = True\n")
    after = bundling.build_triggers(sources=sources, cache=cache)
    assert bundle != after
    assert "CHANGED" in (after / "lambdas" / "email_otp" / "__init__.py").read_text()


def test_few_outdated_bundles_are_kept(sources: Path, tmp_path: Path) -> None:
    for number in range(5):
        (sources / "email_otp" / "changed.py").write_text(f"NUMBER = {number}\n")
        newest = bundling.build_triggers(sources=sources, cache=tmp_path / "cache")
        assert newest.is_dir()
    assert len(list(tmp_path.glob("cache/lambdas-*"))) == 3
    assert len(list(tmp_path.glob("cache/packages-lambdas-*"))) == 1


def test_source_that_does_not_compile_is_named_and_leaves_nothing(
    bundle: Path, sources: Path
) -> None:
    (sources / "email_otp" / "broken.py").write_text("def :\n")
    cache = bundle.parent
    before = set(cache.iterdir())
    with pytest.raises(bundling.BundlingError, match=r"does not compile:\n(.|\n)*broken\.py"):
        bundling.build_triggers(sources=sources, cache=cache)
    assert set(cache.iterdir()) == before


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "bundles").write_text("a file")
    with pytest.raises(
        bundling.BundlingError, match=r"bundles/below/packages.* cannot be written \(.+\)"
    ):
        bundling.build_triggers(cache=tmp_path / "bundles" / "below")


def test_few_builds_that_were_killed_are_kept(bundle: Path, sources: Path) -> None:
    cache = bundle.parent
    for number in range(5):
        (cache / f"unfinished-{number}").mkdir()
    (sources / "email_otp" / "changed.py").write_text("NUMBER = 'another'\n")
    bundling.build_triggers(sources=sources, cache=cache)
    assert len(list(cache.glob("unfinished-*"))) == 3


def test_missing_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(bundling.BundlingError, match=r"no_such_folder has no sources"):
        bundling.build_triggers(sources=tmp_path / "no_such_folder", cache=tmp_path)
