"""The bundle: what is in it, and that the same sources give the same bytes."""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from infra import bundling
from infra.local.ministack import ROOT

SOURCES = ROOT / "lambdas"
HANDLERS = {"define_auth_challenge", "create_auth_challenge", "verify_auth_challenge_response"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="module")
def bundle(cache: Path) -> Path:
    return bundling.build(cache=cache)


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


def test_two_builds_are_the_same_to_the_byte(bundle: Path, tmp_path: Path) -> None:
    again = bundling.build(cache=tmp_path)
    assert bundle.name == again.name
    assert content(bundle) == content(again)


def test_bundle_has_the_handlers_and_all_that_they_import(bundle: Path) -> None:
    assert {path.stem for path in (bundle / "lambdas").glob("*.py")} >= HANDLERS
    assert (bundle / "lambdas" / "email_otp" / "__init__.py").is_file()
    assert (bundle / "aws_lambda_powertools" / "__init__.py").is_file()
    assert not (bundle / "boto3").exists()


def test_every_source_has_bytecode_that_never_goes_stale(bundle: Path) -> None:
    for source in bundle.rglob("*.py"):
        bytecode = Path(importlib.util.cache_from_source(str(source), optimization=""))
        flags = int.from_bytes(bytecode.read_bytes()[4:8], "little")
        assert flags == 0b01, f"{bytecode} is not an unchecked, hash-based one (PEP 552)"


def test_nothing_of_this_machine_is_in_the_bundle(bundle: Path, cache: Path) -> None:
    here = [str(cache).encode(), str(SOURCES).encode(), sys.prefix.encode()]
    for path in bundle.rglob("*"):
        if path.is_file():
            assert not any(place in path.read_bytes() for place in here), path


def test_zipped_bundle_is_at_most_2_5_mb(bundle: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in bundle.rglob("*"):
            archive.write(path, path.relative_to(bundle))
    assert (tmp_path / "bundle.zip").stat().st_size <= 2_500_000


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
    after = bundling.build(sources=sources, cache=cache)
    assert bundle != after
    assert "CHANGED" in (after / "lambdas" / "email_otp" / "__init__.py").read_text()


def test_few_outdated_bundles_are_kept(sources: Path, tmp_path: Path) -> None:
    for number in range(5):
        (sources / "email_otp" / "changed.py").write_text(f"NUMBER = {number}\n")
        newest = bundling.build(sources=sources, cache=tmp_path / "cache")
        assert newest.is_dir()
    assert len(list(tmp_path.glob("cache/lambdas-*"))) == 3
    assert len(list(tmp_path.glob("cache/packages-*"))) == 1


def test_source_that_does_not_compile_is_named_and_leaves_nothing(
    bundle: Path, sources: Path
) -> None:
    (sources / "email_otp" / "broken.py").write_text("def :\n")
    cache = bundle.parent
    before = set(cache.iterdir())
    with pytest.raises(bundling.BundlingError, match=r"does not compile:\n(.|\n)*broken\.py"):
        bundling.build(sources=sources, cache=cache)
    assert set(cache.iterdir()) == before


def test_missing_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(bundling.BundlingError, match=r"no_such_folder has no sources"):
        bundling.build(sources=tmp_path / "no_such_folder", cache=tmp_path)
