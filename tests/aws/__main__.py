"""Proves a deployment: `make test-aws STACK=EmailOtp`, or without STACK a local one of its own.

It signs made-up users in and out, tries what must not work, prints a line a check, and removes what
it made.
"""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
from botocore.exceptions import BotoCoreError, ClientError

from infra.local import deployment
from infra.local.deployment import CREDENTIALS
from infra.local.ministack import ROOT, LocalError
from tests.aws.check import DENIED, code_of
from tests.aws.checks import CHECKS
from tests.aws.run import STOPPED_BY, prove
from tests.aws.stack import Stack, StackError
from tests.support.agent_process import running_agent

_NEEDED = ("UserPoolId", "UserPoolClientId", "GuestsTableName", "OtpLedgerTableName")


def main(arguments: list[str] | None = None) -> int:
    """Prove a deployment; returns the exit code."""
    options = _parse(arguments)
    try:
        with _local() if options.local else _on_aws(options.stack, options.region) as stack:
            return prove(stack, CHECKS)
    except (LocalError, StackError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


@contextlib.contextmanager
def _local() -> Iterator[Stack]:
    """Deploy into a MiniStack that ends with the block, and run the agent and its page."""
    with tempfile.TemporaryDirectory(prefix="email-otp-proof-") as folder:
        directory = Path(folder)
        print("deploying into MiniStack", flush=True)
        page = ROOT / "agent" / "web" / "dist"
        if not page.exists():
            page = directory / "no-page"
            page.mkdir()
        with (
            # The shortest life of a code, as the last check waits for its end.
            deployment.deployed(directory, context={"code_ttl_seconds": "60"}) as outputs,
            running_agent(
                directory, outputs, program=("-m", "infra.local.chat", str(page))
            ) as agent_url,
            httpx.Client(trust_env=False) as http,
        ):
            yield Stack(
                boto3.Session(region_name=outputs["region"], **CREDENTIALS),
                outputs,
                http,
                endpoint_url=outputs["endpoint_url"],
                agent_url=agent_url,
            )


@contextlib.contextmanager
def _on_aws(name: str, region: str | None) -> Iterator[Stack]:
    # boto3 itself reads AWS_DEFAULT_REGION alone.
    try:
        session = boto3.Session(region_name=region or os.environ.get("AWS_REGION"))
        outputs = outputs_of_stack(session, name)
    except BotoCoreError as error:
        raise StackError(_unusable(error, name)) from None
    print(f"proving {name} in {session.region_name}", flush=True)
    with httpx.Client() as http:
        yield Stack(session, outputs, http, name=name)


def outputs_of_stack(session: boto3.Session, name: str) -> dict[str, str]:
    """Look a stack's outputs up.

    Raises:
        StackError: It cannot be worked with.
        BotoCoreError: AWS was not asked, or did not answer.
    """
    if session.region_name is None:
        raise StackError("which region is the stack in? Pass REGION=..., or set AWS_REGION")
    try:
        found = session.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        raise StackError(_refused(error, name, session.region_name)) from None
    outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}
    if missing := [output for output in _NEEDED if output not in outputs]:
        raise StackError(f"stack {name} has no output {missing[0]}: is it this app's?")
    return outputs


def _refused(error: ClientError, name: str, region: str) -> str:
    if code_of(error) in DENIED:
        return "you may not call cloudformation:DescribeStacks: allow it to your credentials"
    if code_of(error) == "ValidationError":
        return f"there is no stack {name} in {region}: pass STACK=... and REGION=..."
    return f"your credentials do not work ({code_of(error)}): renew them"


def _unusable(error: BotoCoreError, name: str) -> str:
    kind = type(error).__name__
    if "Credential" in kind or "Token" in kind or "Profile" in kind:
        return f"there are no credentials ({kind}): sign in, such as with `aws sso login`"
    return f"stack {name} cannot be looked up ({kind}): is the region right, and the network there?"


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.aws", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--stack", help="a stack on AWS, such as EmailOtp")
    where.add_argument("--local", action="store_true", help="deploy one locally")
    parser.add_argument("--region", help="the stack's region, if not the configured one")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    for each in STOPPED_BY:
        signal.signal(each, signal.default_int_handler)  # so that what was made is removed
    sys.exit(main())
