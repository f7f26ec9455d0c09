"""Starts, finds and ends MiniStack, the embedded AWS, on loopback: at most one for a folder."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.settings import LOCAL_ACCOUNT, LOCAL_REGION

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
_PYTHON = ROOT / ".local" / "emulator" / "bin" / "python"
_START_SECONDS = 60
_STOP_SECONDS = 5


class LocalError(Exception):
    """The local deployment cannot go on; the message's first line says what to do."""


@dataclass(frozen=True)
class MiniStack:
    """A running MiniStack.

    Attributes:
        pid: Its process, which leads a group of its own with the Lambdas it started.
        port: Where it listens on loopback.
    """

    pid: int
    port: int

    @property
    def endpoint_url(self) -> str:
        """Return the value for `AWS_ENDPOINT_URL`."""
        return f"http://{HOST}:{self.port}"

    def is_healthy(self) -> bool:
        """Return whether it answers."""
        try:
            return "version" in _get(f"{self.endpoint_url}/_ministack/health")
        except (OSError, ValueError):
            return False


def find(directory: Path) -> MiniStack | None:
    """Return the MiniStack that was started in a folder, if it still runs.

    It holds a lock for as long as it runs, so neither an old file nor a process id that another
    process has by now can be mistaken for it.
    """
    lock_path = _lock_path(directory)
    if not lock_path.exists():
        return None
    with lock_path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            while not (content := lock.read()):  # the lock was taken this very moment
                time.sleep(0.05)
            return MiniStack(**json.loads(content))
    return None


def start(
    directory: Path, port: int, *, end_with_us: bool = False, bare: bool = False
) -> MiniStack:
    """Start MiniStack, with empty state, and wait until it answers.

    Args:
        directory: Where its log, lock and temporary files go.
        port: Where it is to listen on loopback.
        end_with_us: Whether it ends when this process does, however that happens.
        bare: Whether to leave AWS's rules out, `infra.local.aws_rules`.

    Raises:
        LocalError: The port is busy, or MiniStack is not installed or does not answer in time.
    """
    require_free_port(port, "MINISTACK_PORT")
    if not _PYTHON.exists():
        raise LocalError("MiniStack is not installed: run `make setup`")
    home = _lock_path(directory).parent
    _lock_path(directory).unlink(missing_ok=True)
    shutil.rmtree(home / "tmp", ignore_errors=True)
    (home / "tmp").mkdir(parents=True)
    command = [str(_PYTHON), "-P", str(ROOT / "infra" / "local" / "run_ministack.py")]
    command += [str(_lock_path(directory))] + ["until-stdin-closes"] * end_with_us
    command += ["bare"] * bare
    log_path = home / "log"
    with log_path.open("w") as log:
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE if end_with_us else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home,
            env=_environment(home, port),
            start_new_session=True,
        )
    started = MiniStack(pid=process.pid, port=port)
    deadline = time.monotonic() + _START_SECONDS
    while not started.is_healthy():
        if process.poll() is not None or time.monotonic() > deadline:
            _end_group(process.pid, signal.SIGKILL)
            last_words = "\n".join(log_path.read_text(errors="replace").splitlines()[-10:])
            raise LocalError(f"MiniStack did not start, its log is {log_path}\n{last_words}")
        time.sleep(0.05)
    if end_with_us:
        _ENDING_WITH_US.append(process)
    return started


def stop(directory: Path) -> bool:
    """End the MiniStack of a folder and the Lambdas it runs.

    Returns:
        Whether there was one.
    """
    running = find(directory)
    if running is None:
        return False
    _end_group(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while find(directory):
        if time.monotonic() > deadline:
            _end_group(running.pid, signal.SIGKILL)
        time.sleep(0.05)
    _end_group(running.pid, signal.SIGKILL)  # Lambdas that outlived it
    for process in [each for each in _ENDING_WITH_US if each.pid == running.pid]:
        _ENDING_WITH_US.remove(process)
        process.communicate()
    return True


def mails(endpoint_url: str) -> list[dict[str, Any]]:
    """Return the mails that SES took, oldest first: `To Subject BodyText BodyHtml` and more."""
    messages = _get(f"{endpoint_url}/_ministack/ses/messages")["messages"]
    return [message for account in messages.values() for message in account]


def require_free_port(port: int, variable: str) -> None:
    """Make sure that a loopback port can be bound.

    Raises:
        LocalError: It cannot; the message names the port and the variable that picks another.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise LocalError(
                f"port {port} is not free: end what uses it, "
                f"or choose another with {variable}={port + 1}"
            ) from error


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


# Popen objects kept alive: their stdin pipe is what MiniStack watches.
_ENDING_WITH_US: list[subprocess.Popen[bytes]] = []


def _lock_path(directory: Path) -> Path:
    return directory.resolve() / "ministack" / "lock"


def _environment(home: Path, port: int) -> dict[str, str]:
    """Return MiniStack's environment, without the caller's: the Lambdas inherit all of it."""
    return {
        "PATH": f"{_PYTHON.parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TMPDIR": str(home / "tmp"),
        "STATE_DIR": str(home / "tmp" / "state"),
        "S3_DATA_DIR": str(home / "tmp" / "s3"),
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(port),
        "AUTH": "true",
        # Else its MQTT broker listens on every address of this machine, and nothing needs it.
        "IOT_MTLS_ENABLED": "0",
        "LAMBDA_EXECUTOR": "local",
        "MINISTACK_REGION": LOCAL_REGION,
        "MINISTACK_ACCOUNT_ID": LOCAL_ACCOUNT,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONUNBUFFERED": "1",
    }


def _end_group(pid: int, how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, how)


def _get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - loopback only
        answer: dict[str, Any] = json.load(response)
        return answer
