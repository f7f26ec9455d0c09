"""Local deployments: what cuts one off breaks no later one, and what they print says what to do."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from infra.local import deployment, ministack
from infra.local.ministack import ROOT
from infra.local.serving import agent_environment, bedrock_environment
from tests.support.deployment import Deployment
from tests.support.waiting import wait_until


def run(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.local", command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def cli_runs(directory: Path) -> bool:
    """Tell whether a CDK CLI works for a deployment into a folder."""
    command = ["ps", "-ww", "-eo", "args"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    return any(f"{directory}/cdk-outputs.json" in line for line in listed.stdout.splitlines())


def cut_off(directory: Path, port: int, *, after: str) -> None:
    """Kill a deployment a moment after a line of its progress."""
    code = (
        "import sys; from pathlib import Path; from infra.local import deployment\n"
        "deployment.deploy(Path(sys.argv[1]), port=int(sys.argv[2]), "
        "report=lambda line: print(line, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(directory), str(port)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as deploying:
        assert deploying.stdout is not None
        assert any(after in line for line in deploying.stdout)
        time.sleep(0.3)
        assert cli_runs(directory)
        deploying.kill()


def test_cli_ends_with_who_started_it(tmp_path: Path) -> None:
    """Else it would go on beside the next deployment."""
    cut_off(tmp_path, ministack.free_port(), after="deploying the stack")
    try:
        wait_until(lambda: not cli_runs(tmp_path))
        assert not [*tmp_path.rglob("*.template.json")]
    finally:
        ministack.stop(tmp_path)


def test_deployment_after_one_cut_off_works_and_a_third_updates_it(tmp_path: Path) -> None:
    port = ministack.free_port()
    cut_off(tmp_path, port, after="the template is ready")
    try:
        assert not (tmp_path / "outputs.json").exists()
        first = deployment.deploy(tmp_path, port=port)
        assert json.loads((tmp_path / "outputs.json").read_text()) == first
        assert first["endpoint_url"] == f"http://127.0.0.1:{port}"

        second = deployment.deploy(tmp_path, port=port, context={"code_length": "8"})
        assert second == first
        environment = Deployment(second).function("CreateAuthChallenge")["Environment"]
        assert environment["Variables"]["CODE_LENGTH"] == "8"
    finally:
        ministack.stop(tmp_path)


def test_failed_deployment_ends_with_a_sentence_and_the_reason(tmp_path: Path) -> None:
    with (
        pytest.raises(ministack.LocalError) as failed,
        deployment.deployed(tmp_path, context={"code_length": "12"}),
    ):
        pass
    first_line, *rest = str(failed.value).splitlines()
    assert first_line == f"the stack was not deployed, the whole log is {tmp_path / 'cdk.log'}"
    assert "error: code_length is 12: pass a whole number from 6 to 10" in rest
    assert ministack.find(tmp_path) is None


def test_agent_has_its_policy_alone(
    stack: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Least privilege as MiniStack enforces it, through the profile `make serve` uses."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    environment = agent_environment(tmp_path, stack.outputs)
    for name in [name for name in environment if name.startswith("AWS_")]:
        monkeypatch.setenv(name, environment[name])
    session = boto3.Session()
    guests, ledger = stack.outputs["GuestsTableName"], stack.outputs["OtpLedgerTableName"]
    dynamodb, cognito = session.client("dynamodb"), session.client("cognito-idp")

    guest = {"cognito_sub": {"S": "someone"}}
    assert "Item" not in dynamodb.get_item(TableName=guests, Key=guest)
    dynamodb.update_item(TableName=guests, Key=guest)

    beyond: list[Callable[[], object]] = [
        lambda: dynamodb.get_item(TableName=ledger, Key={"sub": {"S": "someone"}}),
        lambda: dynamodb.scan(TableName=guests),
        lambda: dynamodb.delete_item(TableName=guests, Key=guest),
        lambda: cognito.list_users(UserPoolId=stack.outputs["UserPoolId"]),
        dynamodb.list_tables,
    ]
    for refused in beyond:
        with pytest.raises(ClientError) as error:
            refused()
        assert error.value.response["Error"]["Code"].startswith("AccessDenied")


def test_busy_port_costs_the_deployment_that_runs_nothing(tmp_path: Path) -> None:
    running = ministack.start(tmp_path, ministack.free_port(), end_with_us=True)
    (tmp_path / "outputs.json").write_text("{}")
    with socket.socket() as other:
        other.bind((ministack.HOST, 0))
        with pytest.raises(ministack.LocalError, match="is not free"):
            deployment.deploy(tmp_path, port=other.getsockname()[1])
    assert running.is_healthy()
    assert (tmp_path / "outputs.json").exists()
    ministack.stop(tmp_path)


def test_agent_environment_keeps_other_variables_but_no_aws_account_and_no_bedrock_model(
    stack: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-real-one")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-real-one")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "a-real-one")
    monkeypatch.setenv("MODEL_ID", "some-model")
    monkeypatch.setenv("APP_NAME", "Harbour Inn")
    environment = agent_environment(tmp_path, stack.outputs)
    assert "a-real-one" not in environment.values()
    assert environment["APP_NAME"] == "Harbour Inn"
    assert environment["MODEL_ID"] == "offline"
    assert environment["USER_POOL_ID"] == stack.outputs["UserPoolId"]


def test_bedrock_model_is_asked_at_aws_with_an_api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL_ID", raising=False)
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert bedrock_environment() == {}
    for offline in ("", "offline"):
        monkeypatch.setenv("MODEL_ID", offline)
        assert bedrock_environment() == {}

    monkeypatch.setenv("MODEL_ID", "some-model")
    with pytest.raises(ministack.LocalError, match="set AWS_BEARER_TOKEN_BEDROCK to an API key"):
        bedrock_environment()

    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "an-api-key")
    assert bedrock_environment() == {
        "MODEL_ID": "some-model",
        "AWS_BEARER_TOKEN_BEDROCK": "an-api-key",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "https://bedrock-runtime.eu-west-1.amazonaws.com",
    }


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1"])
def test_port_that_is_none_is_refused_in_one_line(port: str) -> None:
    done = run("deploy", MINISTACK_PORT=port)
    assert done.returncode == 1
    assert done.stderr == (f"error: MINISTACK_PORT is {port!r}: set it to a port from 1 to 65535\n")
