"""Finds the deployment that a command at a terminal works with."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from agent.sign_in.settings import SettingsError

OUTPUTS_FILE = Path(".local/outputs.json")


def find(
    stack: str | None, region: str | None, needed: set[str]
) -> tuple[Mapping[str, str], boto3.Session]:
    """Return a stack's outputs, with `region` and `endpoint_url` if it is local, and credentials.

    Args:
        stack: Its name on AWS; None for the local deployment.
        region: Where it is, if not where the environment says.
        needed: The outputs that there have to be.

    Raises:
        SettingsError: There is no such deployment; the message says what to do.
    """
    outputs, session = _on_aws(stack, region) if stack else _local()
    if missing := needed - outputs.keys():
        raise SettingsError(f"This stack has no output {', '.join(sorted(missing))}.")
    return outputs, session


def _local() -> tuple[Mapping[str, str], boto3.Session]:
    try:
        outputs = json.loads(OUTPUTS_FILE.read_text("utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f"{OUTPUTS_FILE} is not there: run `make deploy-local` first, or pass --stack."
        ) from None
    session = boto3.Session(
        aws_access_key_id="test",  # MiniStack takes any
        aws_secret_access_key="test",  # noqa: S106
        region_name=outputs["region"],
    )
    return outputs, session


def _on_aws(stack: str, region: str | None) -> tuple[Mapping[str, str], boto3.Session]:
    # boto3 itself reads AWS_DEFAULT_REGION alone.
    session = boto3.Session(region_name=region or os.environ.get("AWS_REGION"))
    if session.region_name is None:
        raise SettingsError("Which region is the stack in? Pass --region.")
    try:
        found = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        reason = error.response["Error"].get("Message", "")
        raise SettingsError(f"Stack {stack} in {session.region_name}: {reason}") from None
    except BotoCoreError as error:
        raise SettingsError(f"Stack {stack} cannot be looked up: {error}") from None
    outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
    return {**outputs, "region": session.region_name}, session
