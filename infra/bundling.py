"""Builds what the trigger functions ship: `lambdas/`, Powertools, and the bytecode of both."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_SOURCES = _ROOT / "lambdas"
_LOCK_FILE = _ROOT / "requirements" / "lambdas.txt"
_CACHE = _ROOT / ".local" / "bundles"
_KEPT = 3


class BundlingError(Exception):
    """A bundle could not be built; the message says what went wrong and what to do."""


def build(*, sources: Path = _SOURCES, cache: Path = _CACHE) -> Path:
    """Build the functions' bundle, or find the one built before from the same sources.

    The same sources give the same files byte for byte, so that CDK deploys only what changed.

    Args:
        sources: The package `lambdas`, with the handlers and what they share.
        cache: The folder that bundles are kept in.

    Returns:
        The bundle's folder.

    Raises:
        BundlingError: There are no sources, or the packages cannot be installed.
    """
    files = sorted(path for path in sources.rglob("*") if _ships(path))
    if not files:
        raise BundlingError(f"{sources} has no sources: restore the folder")
    packages = _packages(cache)
    digest = hashlib.sha256(packages.name.encode())
    for file in files:
        content = file.read_bytes()
        digest.update(f"\0{file.relative_to(sources)}\0{len(content)}\0".encode() + content)

    def fill(folder: Path) -> None:
        shutil.copytree(packages, folder, dirs_exist_ok=True)
        for file in files:
            target = folder / "lambdas" / file.relative_to(sources)
            target.parent.mkdir(exist_ok=True, parents=True)
            shutil.copyfile(file, target)
        _compile(folder, folder / "lambdas")

    return _once(cache / f"lambdas-{digest.hexdigest()[:16]}", fill)


def _packages(cache: Path) -> Path:
    """Install the locked packages for Lambda's arm64 Python, once a lock file."""

    def fill(folder: Path) -> None:
        command = ["uv", "pip", "install", "--quiet", "--target", str(folder)]
        command += ["--requirements", str(_LOCK_FILE), "--require-hashes", "--only-binary", ":all:"]
        command += ["--python-version", "3.13", "--python-platform", "aarch64-manylinux_2_28"]
        _run(
            command,
            "the Lambdas' packages could not be installed: install uv beside aws-cdk-lib "
            "(`make setup` does) and check the connection to the package index",
            UV_COMPILE_BYTECODE="0",  # uv's own bytecode is dated, see _compile
        )
        # Scripts name this machine's Python, and RECORD lists them.
        shutil.rmtree(folder / "bin", ignore_errors=True)
        for surplus in (folder / ".lock", *folder.glob("*.dist-info/RECORD")):
            surplus.unlink(missing_ok=True)
        _compile(folder, folder)

    digest = hashlib.sha256(_LOCK_FILE.read_bytes()).hexdigest()
    return _once(cache / f"packages-{digest[:16]}", fill)


def _compile(folder: Path, part: Path) -> None:
    """Write bytecode that stays valid although CDK dates every file in the zip 1980."""
    command = ["compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(folder), "-p", "/var/task", str(part)]
    _run(command, "a Lambda source does not compile:", PYTHONHASHSEED="0")


def _run(command: list[str], complaint: str, **environment: str) -> None:
    """Run a Python module with more in its environment.

    Raises:
        BundlingError: It failed; the text is the complaint, then what it wrote.
    """
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    if done.returncode:
        raise BundlingError(f"{complaint}\n{done.stdout}{done.stderr}".strip())


def _once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Build in a temporary folder, then rename it: an interrupted build leaves nothing half done.

    Keep only the newest few of each kind: the kind is the name before the last hyphen.
    """
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="unfinished-") as unfinished:
            built = Path(unfinished, "bundle")
            built.mkdir()
            fill(built)
            try:
                built.rename(folder)
            except OSError:
                if not folder.exists():  # otherwise another synth was faster
                    raise
        name = folder.name.rpartition("-")[0]
        siblings = sorted(folder.parent.glob(f"{name}-*"), key=lambda path: path.stat().st_mtime)
        for outdated in siblings[:-_KEPT]:
            shutil.rmtree(outdated, ignore_errors=True)
    return folder


def _ships(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts
