"""Runs the agent, alone or with the chat page, against a local deployment."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.local import ministack
from infra.local.deployment import CREDENTIALS, ministack_environment, write_whole
from infra.local.ministack import HOST, ROOT, LocalError
from infra.settings import LOCAL_REGION

OFFLINE = "offline"  # the MODEL_ID of the rule-based model
_CHAT_GREETING = """
The chat is at http://{host}:{port} in a few seconds. Open it in a browser and
  1. ask "Show my bookings",
  2. give a name and a made-up address, such as "Ada Lovelace, ada@example.com",
  3. enter the code from the mailbox beside the chat.
End it with Ctrl-C; `make stop-local` ends MiniStack too.
"""


def agent_environment(directory: Path, outputs: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which the agent works against a local deployment.

    It has the agent's role alone, through a profile that assumes it, so boto3 renews the
    credentials of an agent that runs for long.

    Args:
        directory: The deployment's folder; the profile is written there.
        outputs: What `deploy` returned.
    """
    profile = (
        "[profile agent]\n"
        f"role_arn = {outputs['AgentRoleArn']}\n"
        "source_profile = root\n"
        "[profile root]\n" + "".join(f"{name} = {value}\n" for name, value in CREDENTIALS.items())
    )
    config = directory.resolve() / "aws-config"
    write_whole(config, profile)
    return ministack_environment(outputs["endpoint_url"]) | {
        "AWS_CONFIG_FILE": str(config),
        "AWS_PROFILE": "agent",
        "USER_POOL_ID": outputs["UserPoolId"],
        "USER_POOL_CLIENT_ID": outputs["UserPoolClientId"],
        "GUESTS_TABLE_NAME": outputs["GuestsTableName"],
        "MAX_NEW_GUESTS_PER_HOUR": outputs["MaxNewGuestsPerHour"],
        "MODEL_ID": OFFLINE,
    }


def bedrock_environment() -> dict[str, str]:
    """Return what the agent needs beside that if `MODEL_ID` names a Bedrock model.

    Such a model runs in AWS, where MiniStack's credentials open nothing.

    Raises:
        LocalError: There is no API key for it.
    """
    model_id = os.environ.get("MODEL_ID", "").strip() or OFFLINE
    if model_id == OFFLINE:
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


def serve(directory: Path, *, port: int, with_page: bool = False) -> None:
    """Become the agent's process.

    Args:
        directory: The folder of the deployment it works with.
        port: Where it listens on loopback.
        with_page: Serve the chat page and the mailbox too.

    Raises:
        LocalError: Nothing is deployed there, or the port is busy.
    """
    running = ministack.find(directory)
    if running is None or not (directory / "outputs.json").exists():
        raise LocalError("nothing is deployed: run `make deploy-local` first")
    ministack.require_free_port(port, "PORT")
    outputs = json.loads((directory / "outputs.json").read_text())
    environment = agent_environment(directory, outputs) | bedrock_environment()
    environment["PORT"] = str(port)
    if with_page:
        module, greeting = "infra.local.chat", _CHAT_GREETING.format(host=HOST, port=port)
    else:
        module = "agent.main"
        greeting = f"starting the agent on http://{HOST}:{port}, end it with Ctrl-C"
    print(greeting, flush=True)
    os.chdir(ROOT)
    os.execve(sys.executable, [sys.executable, "-m", module], environment)  # noqa: S606
