"""Bundles: what is in them, and that the same sources give the same bytes."""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from infra import bundling

SOURCES = Path(__file__).parents[2] / "lambdas"
HANDLERS = ["define_auth_challenge", "create_auth_challenge", "verify_auth_challenge_response"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(params=HANDLERS)
def handler(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_two_builds_are_the_same_to_the_byte(tmp_path: Path, cache: Path) -> None:
    again = bundling.build(HANDLERS[1], cache=tmp_path)
    first = bundling.build(HANDLERS[1], cache=cache)
    assert first.name == again.name
    assert content(first) == content(again)


def test_bundle_has_its_own_handler_alone(handler: str, cache: Path) -> None:
    bundle = bundling.build(handler, cache=cache)
    assert [path.name for path in bundle.glob("*.py") if path.stem in HANDLERS] == [f"{handler}.py"]
    assert (bundle / "email_otp" / "__init__.py").is_file()
    assert (bundle / "aws_lambda_powertools" / "__init__.py").is_file()
    assert not (bundle / "boto3").exists()


def test_every_source_has_bytecode_that_never_goes_stale(handler: str, cache: Path) -> None:
    bundle = bundling.build(handler, cache=cache)
    for source in bundle.rglob("*.py"):
        bytecode = Path(importlib.util.cache_from_source(str(source), optimization=""))
        flags = int.from_bytes(bytecode.read_bytes()[4:8], "little")
        assert flags == 0b01, f"{bytecode} is not an unchecked, hash-based one (PEP 552)"


def test_nothing_of_this_machine_is_in_a_bundle(handler: str, cache: Path) -> None:
    bundle = bundling.build(handler, cache=cache)
    here = [str(cache).encode(), str(SOURCES).encode(), sys.prefix.encode()]
    for path in bundle.rglob("*"):
        if path.is_file():
            assert not any(place in path.read_bytes() for place in here), path


def test_zipped_bundle_is_at_most_2_5_mb(handler: str, cache: Path, tmp_path: Path) -> None:
    bundle = bundling.build(handler, cache=cache)
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in bundle.rglob("*"):
            archive.write(path, path.relative_to(bundle))
    assert (tmp_path / "bundle.zip").stat().st_size <= 2_500_000


def test_define_imports_no_aws_client(cache: Path) -> None:
    bundle = bundling.build("define_auth_challenge", cache=cache)
    code = "import sys, define_auth_challenge; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=bundle,
        env={"PYTHONPATH": str(bundle), "POWERTOOLS_SERVICE_NAME": "define_auth_challenge"},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = done.stdout.split()
    assert "email_otp" in loaded
    # Powertools itself loads the bare package `botocore`, which is small.
    assert not {"boto3", "botocore.session", "botocore.client"} & set(loaded)


def test_changed_source_gives_another_bundle(cache: Path, tmp_path: Path) -> None:
    sources = tmp_path / "lambdas"
    shutil.copytree(SOURCES, sources)
    before = bundling.build(HANDLERS[0], sources=sources, cache=cache)
    with (sources / "email_otp" / "__init__.py").open("a") as module:
        module.write("CHANGED = True\n")
    after = bundling.build(HANDLERS[0], sources=sources, cache=cache)
    assert before != after
    assert "CHANGED" in (after / "email_otp" / "__init__.py").read_text()


def test_few_outdated_bundles_are_kept(cache: Path, tmp_path: Path) -> None:
    sources = tmp_path / "lambdas"
    shutil.copytree(SOURCES, sources)
    for number in range(5):
        (sources / "email_otp" / "changed.py").write_text(f"NUMBER = {number}\n")
        newest = bundling.build(HANDLERS[2], sources=sources, cache=cache)
        assert newest.is_dir()
    assert len(list(cache.glob(f"{HANDLERS[2]}-*"))) == 3
    assert len(list(cache.glob("packages-*"))) == 1


def test_source_that_does_not_compile_is_named_and_leaves_nothing(
    cache: Path, tmp_path: Path
) -> None:
    sources = tmp_path / "lambdas"
    shutil.copytree(SOURCES, sources)
    (sources / "email_otp" / "broken.py").write_text("def :\n")
    before = set(cache.iterdir())
    with pytest.raises(bundling.BundlingError, match=r"does not compile:\n(.|\n)*broken\.py"):
        bundling.build(HANDLERS[0], sources=sources, cache=cache)
    assert set(cache.iterdir()) == before


def test_missing_handler_is_named(cache: Path) -> None:
    with pytest.raises(bundling.BundlingError, match=r"no_such_handler\.py"):
        bundling.build("no_such_handler", cache=cache)
