"""Builds what runs in AWS: sources, the packages they need, and the bytecode of both."""

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from infra import function_contents
from infra.function_contents import empty_gathering_modules, endpoints_of, models_of, modules_of

_ROOT = Path(__file__).resolve().parents[1]
_CACHE = _ROOT / ".local" / "bundles"
_KEPT = 3
_LONGEST_BUILD_SECONDS = 3600
_ARM64 = "aarch64-manylinux_2_28"  # what Lambda and AgentCore run
# Of the packages that the agent's depend on: for MCP, which it does not speak, or, as Starlette's
# parser of forms, of use only where they are there.
_UNUSED_BY_AGENT = [
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "mcp",
    "mcp-types",
    "pycparser",
    "python-multipart",
    "sse-starlette",
    "truststore",
]
# Of packages that stay: AgentCore's services beside the runtime, descriptions for `boto3.resource`,
# and PyYAML's second parser, in C, which it does without.
_UNUSED_PARTS = [
    "_yaml",
    "bedrock_agentcore/evaluation",
    "bedrock_agentcore/gateway",
    "bedrock_agentcore/identity",
    "bedrock_agentcore/knowledge_base",
    "bedrock_agentcore/memory",
    "bedrock_agentcore/payments",
    "bedrock_agentcore/policy",
    "bedrock_agentcore/services",
    "bedrock_agentcore/tools",
    "boto3/data",
    "boto3/examples",
    "yaml/_yaml.*.so",
]
_NOT_HOSTED = {
    "agent/deployment.py",
    "agent/forget.py",
    "agent/hosted.py",
    "agent/try_login.py",
}  # for a terminal, or under another name
# Nine tenths of botocore describe services that the agent never calls.
_CALLED_BY_AGENT = {"bedrock-runtime", "cognito-idp", "dynamodb", "sts"}


class BundlingError(Exception):
    """A bundle could not be built; the message says what went wrong and what to do."""


def build_function(
    handler: str, *, sources: Path = _ROOT / "lambdas", cache: Path = _CACHE
) -> Path:
    """Build a function's bundle, or find the one built before from the same sources.

    It holds what the handler imports and no more, as each file costs time when a process starts:
    sources of ours, to be read, with their bytecode; the bytecode of packages; and AWS's models.
    The same sources give the same files byte for byte, so that CDK deploys only what changed.

    Args:
        handler: Its module in `lambdas`.
        sources: The package `lambdas`, with the handlers and what they share.
        cache: The folder that bundles are kept in.

    Returns:
        The bundle's folder.

    Raises:
        BundlingError: There are no sources, they are not whole, or the packages cannot be
            installed.
    """
    files = _files_of(sources, "lambdas", ".py")
    packages = _packages("lambdas", _ARM64, cache, prepare=empty_gathering_modules)

    def fill(folder: Path) -> None:
        _copy(files, folder)
        _compile(folder, folder / "lambdas")
        try:
            modules = modules_of(f"lambdas.{handler}", folder, packages)
        except ModuleNotFoundError as error:
            raise BundlingError(str(error)) from error
        for name in files.keys() - modules.keys():
            source = folder / name
            source.unlink()
            bytecode = f"{source.stem}.{sys.implementation.cache_tag}.pyc"
            (source.parent / "__pycache__" / bytecode).unlink()
        imported = {name: modules[name] for name in modules.keys() - files.keys()}
        _copy(imported, folder)
        tops = sorted({folder / name.split("/")[0] for name in imported})
        _compile(folder, *tops, without_sources=True)
        ours = [modules[name] for name in files.keys() & modules.keys()]
        for name, model in models_of(ours, packages / "botocore" / "data").items():
            (folder / name).parent.mkdir(exist_ok=True, parents=True)
            (folder / name).write_text(model, "utf-8")

    return _bundle(f"lambdas-{handler}", files, packages, cache, fill)


def build_agent(*, platform: str = _ARM64, cache: Path = _CACHE) -> Path:
    """Build the agent's bundle, whose `main.py` AgentCore starts, or find the one built before.

    https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-get-started-code-deploy.html

    Args:
        platform: What it is to run on, in the words of `uv pip install --python-platform`.
        cache: The folder that bundles are kept in.

    Returns:
        The bundle's folder.

    Raises:
        BundlingError: The packages cannot be installed.
    """
    files = _files_of(_ROOT / "agent", "agent", ".py", ".md")  # modules and prompts
    kept = {
        name: path
        for name, path in files.items()
        if not name.startswith("agent/web/") and name not in _NOT_HOSTED
    }
    hosted = kept | {"main.py": files["agent/hosted.py"]}
    packages = _packages("agent", platform, cache, prepare=_trim_agent)

    def fill(folder: Path) -> None:
        shutil.copytree(packages, folder, dirs_exist_ok=True)
        _copy(hosted, folder)
        _compile(folder, folder / "agent", folder / "main.py")

    bundle = _bundle("agent", hosted, packages, cache, fill)
    sizes = [path.stat().st_size for path in bundle.rglob("*") if path.is_file()]
    _report(f"the agent's bundle: {sum(sizes) / 1e6:.0f} MB unpacked, {len(sizes)} files")
    return bundle


def _files_of(sources: Path, package: str, *kinds: str) -> dict[str, Path]:
    """Return the files that ship, by their names in the bundle.

    Only those of these kinds: a `.env` that somebody keeps beside them is not for AWS to read.
    """
    files = sorted(path for path in sources.rglob("*") if path.is_file() and path.suffix in kinds)
    if not files:
        raise BundlingError(f"{sources} has no sources: restore the folder")
    return {f"{package}/{path.relative_to(sources)}": path for path in files}


def _bundle(
    kind: str,
    files: Mapping[str, Path],
    packages: Path,
    cache: Path,
    fill: Callable[[Path], None],
) -> Path:
    digest = hashlib.sha256(packages.name.encode())
    for name, file in files.items():
        content = file.read_bytes()
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)

    def fill_readable(folder: Path) -> None:
        fill(folder)
        # Whatever this machine's mask is: AgentCore runs them as a user of its own.
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)

    return _once(cache / f"{kind}-{digest.hexdigest()[:16]}", fill_readable)


def _copy(files: Mapping[str, Path], folder: Path) -> None:
    for name, file in files.items():
        target = folder / name
        target.parent.mkdir(exist_ok=True, parents=True)
        shutil.copyfile(file, target)


def _packages(group: str, platform: str, cache: Path, prepare: Callable[[Path], None]) -> Path:
    """Install the locked packages of a group, once a lock file, platform and builder."""
    lock_file = _ROOT / "requirements" / f"{group}.txt"

    def fill(folder: Path) -> None:
        command = ["uv", "pip", "install", "--quiet", "--target", str(folder)]
        command += ["--requirements", str(lock_file), "--require-hashes", "--only-binary", ":all:"]
        command += ["--python-version", "3.13", "--python-platform", platform]
        _run(
            command,
            f"the packages of the {group} could not be installed: install uv beside aws-cdk-lib "
            "(`make setup` does) and check the connection to the package index",
            UV_COMPILE_BYTECODE="0",  # uv's own bytecode is dated, see _compile
            UV_SYSTEM_CERTS="1",  # as in the Makefile, which `npx cdk deploy` does not read
            UV_LINK_MODE="copy",  # or `prepare` would change what other environments have, too
        )
        prepare(folder)
        # Scripts name this machine's Python, and RECORD lists them.
        shutil.rmtree(folder / "bin", ignore_errors=True)
        for surplus in (folder / ".lock", *folder.glob("*.dist-info/RECORD")):
            surplus.unlink(missing_ok=True)

    digest = hashlib.sha256(platform.encode())
    for file in (lock_file, Path(__file__), Path(function_contents.__file__)):
        digest.update(file.read_bytes())
    return _once(cache / f"packages-{group}-{digest.hexdigest()[:16]}", fill)


def _trim_agent(folder: Path) -> None:
    """Take out packages that the agent never imports, other services, and tests."""
    _run(
        ["uv", "pip", "uninstall", "--quiet", "--target", str(folder), *_UNUSED_BY_AGENT],
        "unused packages could not be taken out of the agent's bundle:",
    )
    data = folder / "botocore" / "data"
    for service in data.iterdir():
        if service.is_dir() and service.name not in _CALLED_BY_AGENT:
            shutil.rmtree(service)
    endpoints = endpoints_of(_CALLED_BY_AGENT, data)
    (data / "endpoints.json").write_text(json.dumps(endpoints), "utf-8")
    for part in ("*/tests", *_UNUSED_PARTS):
        for path in folder.glob(part):
            path.unlink() if path.is_file() else shutil.rmtree(path)
    _compile(folder, folder)


def _compile(folder: Path, *parts: Path, without_sources: bool = False) -> None:
    """Write bytecode that stays valid although CDK dates every file in the zip 1980.

    Args:
        folder: The bundle.
        parts: Folders and files of it.
        without_sources: Whether the bytecode takes the sources' place.
    """
    if sys.version_info[:2] != (3, 13):
        raise BundlingError("what runs in AWS is built by Python 3.13 alone: run CDK with it")
    command = ["compileall", "-q", "-o", "0", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(folder), "-p", "/var/task", *["-b"] * without_sources]
    command += [str(part) for part in parts]
    _run(
        command,
        "a source does not compile:",
        PYTHONHASHSEED="0",
        PYTHONNODEBUGRANGES="",
        PYTHONPYCACHEPREFIX="",
    )
    if without_sources:
        for part in parts:
            for source in [part] if part.is_file() else part.rglob("*.py"):
                source.unlink()


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
        _report(f"building {folder.name}")  # with an empty cache it takes a while
        try:
            _build(folder, fill)
        except OSError as error:
            raise BundlingError(
                f"{folder} cannot be written ({error.strerror}): check permissions and the disk"
            ) from error
    return folder


def _build(folder: Path, fill: Callable[[Path], None]) -> None:
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
    kind = folder.name.rpartition("-")[0]
    outdated = sorted(folder.parent.glob(f"{kind}-*"), key=_changed_at)[:-_KEPT]
    # Of builds that were killed; the others may be under way.
    began_before = time.time() - _LONGEST_BUILD_SECONDS
    outdated += [
        path for path in folder.parent.glob("unfinished-*") if _changed_at(path) < began_before
    ]
    for path in outdated:
        shutil.rmtree(path, ignore_errors=True)


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another synth has just removed it
        return math.inf


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - for who deploys
