"""Deploys the stack into MiniStack with the CDK CLI."""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from infra import NODE
from infra.local import ministack
from infra.local.ministack import HOST, ROOT, LocalError, MiniStack, free_port
from infra.settings import LOCAL_ACCOUNT, LOCAL_REGION

STACK = "EmailOtp"
SENDER = "login@example.com"
_CDK = ROOT / "node_modules" / "aws-cdk" / "bin" / "cdk"
CREDENTIALS: Mapping[str, Any] = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
# The CLI, which would outlive us if we are killed, ends once nobody holds its stdin any more.
_END_WITH_STDIN = (
    "data:text/javascript,process.stdin.resume().on('end', () => process.exit(130)).unref()"
)
_DEPLOYED_WELL = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"}


def deploy(
    directory: Path,
    *,
    port: int,
    context: Mapping[str, str] | None = None,
    end_with_us: bool = False,
    report: Callable[[str], None] = lambda _line: None,
) -> dict[str, str]:
    """Deploy the stack with the CDK CLI into the MiniStack of a folder, starting it if need be.

    Args:
        directory: Where MiniStack's files, the outputs and the cloud assembly go.
        port: Where MiniStack listens on loopback.
        context: Settings of the stack, beside those a local deployment needs.
        end_with_us: Whether a MiniStack started here ends when this process does.
        report: Called with a line whenever there is progress.

    Returns:
        The stack's outputs, `endpoint_url` and `region`, as in `<directory>/outputs.json`.

    Raises:
        LocalError: It did not work; the message says what to do.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "deploy.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LocalError(f"another deployment into {directory} is running: wait") from error
        running = _find_or_start(directory, port, end_with_us=end_with_us, report=report)
        report("deploying the stack with the CDK CLI")
        outputs = _cdk_deploy(directory, running, context or {}, report)
        outputs |= {"endpoint_url": running.endpoint_url, "region": LOCAL_REGION}
        write_whole(directory / "outputs.json", json.dumps(outputs, indent=2) + "\n")
        return outputs


@contextlib.contextmanager
def deployed(
    directory: Path,
    *,
    port: int | None = None,
    context: Mapping[str, str] | None = None,
    report: Callable[[str], None] = lambda _line: None,
) -> Iterator[dict[str, str]]:
    """Deploy into a MiniStack that ends with the block, or with this process if that ends first.

    Args:
        directory: An empty folder for its files.
        port: Where MiniStack listens on loopback; a free port by default.
        context: Settings of the stack, beside those a local deployment needs.
        report: Called with a line whenever there is progress.

    Yields:
        What `deploy` returns.
    """
    try:
        yield deploy(
            directory,
            port=port or free_port(),
            context=context,
            end_with_us=True,
            report=report,
        )
    finally:
        ministack.stop(directory)


def _find_or_start(
    directory: Path, port: int, *, end_with_us: bool, report: Callable[[str], None]
) -> MiniStack:
    """Return the MiniStack that runs if its port and state are right, else start a new one."""
    running = ministack.find(directory)
    if running and running.port == port and running.is_healthy() and _stack_is_well(running):
        report(f"using MiniStack on {running.endpoint_url}")
        return running
    if running:
        if running.port != port:  # or else what runs would be ended for nothing
            ministack.require_free_port(port, "MINISTACK_PORT")
        report(f"ending MiniStack on {running.endpoint_url}, to start it anew")
        ministack.stop(directory)
    (directory / "outputs.json").unlink(missing_ok=True)
    report(f"starting MiniStack on http://{HOST}:{port}")
    started = ministack.start(directory, port, end_with_us=end_with_us)
    # All that the CLI needs of `cdk bootstrap`, which takes 20 s.
    bucket = f"cdk-hnb659fds-assets-{LOCAL_ACCOUNT}-{LOCAL_REGION}"
    _client("s3", started).create_bucket(Bucket=bucket)
    return started


def _stack_is_well(running: MiniStack) -> bool:
    """Return whether a new deployment can go on top: not if one was cut off or failed."""
    try:
        stacks = _client("cloudformation", running).describe_stacks(StackName=STACK)["Stacks"]
    except ClientError:
        return False
    return stacks[0]["StackStatus"] in _DEPLOYED_WELL


def _cdk_deploy(
    directory: Path,
    running: MiniStack,
    context: Mapping[str, str],
    report: Callable[[str], None],
) -> dict[str, str]:
    if not _CDK.exists():
        raise LocalError("the CDK CLI is not installed: run `make setup`")
    assemblies, outputs_file = directory / "cdk.out", directory / "cdk-outputs.json"
    shutil.rmtree(assemblies, ignore_errors=True)
    # One of our own: what a deployment that was killed has begun may still write to another one.
    assembly = assemblies / str(os.getpid())
    outputs_file.unlink(missing_ok=True)
    log_path = directory / "cdk.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(  # noqa: S603
            _cdk_command(assembly, outputs_file, context),
            cwd=ROOT,
            env=_cdk_environment(running),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            for line in process.stdout:
                log.write(line)
                if "Synthesis time" in line:
                    report("the template is ready")
            failed = process.wait() != 0
        finally:
            process.kill()
            process.communicate()
    if failed or not outputs_file.exists():
        last_words = "\n".join(log_path.read_text().strip().splitlines()[-15:])
        raise LocalError(f"the stack was not deployed, the whole log is {log_path}\n{last_words}")
    outputs: dict[str, str] = json.loads(outputs_file.read_text())[STACK]
    return outputs


def _cdk_command(assembly: Path, outputs_file: Path, context: Mapping[str, str]) -> list[str]:
    settings = {
        "local": "true",
        "sender": SENDER,
        "app_name": "Guest desk",
        "create_sender_identity": "true",
        "removal_policy": "destroy",
        **context,
    }
    command = [str(NODE), "--import", _END_WITH_STDIN, str(_CDK), "deploy", STACK]
    command += ["--app", f'"{sys.executable}" app.py', "--output", str(assembly.resolve())]
    command += ["--outputs-file", str(outputs_file.resolve()), "--require-approval", "never"]
    command += ["--method", "direct", "--progress", "events", "--no-color", "--no-notices"]
    command += ["--no-version-reporting", "--no-lookups", "--ci"]
    return command + [f"--context={name}={value}" for name, value in settings.items()]


def _cdk_environment(running: MiniStack) -> dict[str, str]:
    """Return an environment in which the CLI sees MiniStack alone and asks the internet nothing."""
    return ministack_environment(running.endpoint_url) | {
        **{name.upper(): value for name, value in CREDENTIALS.items()},
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "CDK_DISABLE_VERSION_CHECK": "true",
    }


def _client(service: str, running: MiniStack) -> Any:
    return boto3.client(
        service,
        endpoint_url=running.endpoint_url,
        region_name=LOCAL_REGION,
        config=Config(s3={"addressing_style": "path"}, proxies={}),
        **CREDENTIALS,
    )


def ministack_environment(endpoint_url: str) -> dict[str, str]:
    """Return this process's environment, with MiniStack for its AWS account and no proxy."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "CDK_")) and not name.lower().endswith("_proxy")
    } | {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_REGION": LOCAL_REGION,
        "AWS_DEFAULT_REGION": LOCAL_REGION,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def write_whole(path: Path, text: str) -> None:
    """Write a file so that no reader ever sees half of it."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(text)
    unfinished.replace(path)
