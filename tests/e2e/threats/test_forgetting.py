"""T45: a forgotten guest leaves nothing, in no store of the deployment."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent import forget
from tests.support.attacks import Member, bearer, has_user, post
from tests.support.deployment import Deployment
from tests.support.leak_search import Secret, find_leaks


def stores(stack: Deployment) -> dict[str, Any]:
    """Return all that is kept of anybody; logs and mails are not meant to be forgotten at once."""
    users = stack.cognito.get_paginator("list_users").paginate(
        UserPoolId=stack.outputs["UserPoolId"]
    )
    scan = stack.dynamodb.get_paginator("scan")
    return {"pool": [each["Users"] for each in users]} | {
        name: [each["Items"] for each in scan.paginate(TableName=stack.outputs[f"{name}TableName"])]
        for name in ("Guests", "OtpLedger")
    }


@pytest.fixture
def in_its_folder(stack: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go where the deployment's outputs are."""
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "outputs.json").write_text(json.dumps(stack.outputs))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("in_its_folder")
def test_t45_forgotten_guest_leaves_nothing(
    stack: Deployment, agent_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """T45: who signed in, is on the list of newcomers still, and asks for another code."""
    guest, other = Member(stack, agent_url), Member(stack, agent_url)
    stack.age_ledger(guest.address, 60)
    stack.initiate(guest.address)
    tables = stack.outputs["GuestsTableName"], stack.outputs["OtpLedgerTableName"]
    stack.dynamodb.update_item(
        TableName=tables[0],
        Key={"cognito_sub": {"S": "newcomers#1"}},
        UpdateExpression="ADD subs :subs",
        ExpressionAttributeValues={":subs": {"SS": [guest.sub, other.sub]}},
    )
    canaries = [
        Secret("address", guest.address),
        Secret("sub", guest.sub),
        Secret("guest number", guest.guest_id),
    ]
    assert {leak.partition(" ")[0] for leak in find_leaks(stores(stack), canaries)} == {
        "pool:",
        "Guests:",
        "OtpLedger:",
    }

    assert forget.main([guest.address]) == 0
    assert find_leaks(stores(stack), canaries) == []
    assert "Guest record: removed." in capsys.readouterr().out

    assert forget.main([guest.address]) == 0
    assert f"Nothing of {guest.address} is left." in capsys.readouterr().out
    assert has_user(stack, other.address)
    assert stack.guest_item(other.sub)["guest_id"] == {"S": other.guest_id}
    assert stack.ledger_item(other.address)


@pytest.mark.usefixtures("in_its_folder")
def test_t45_forgotten_guests_token_opens_nothing(stack: Deployment, agent_url: str) -> None:
    """T45: the agent asks Cognito before it answers them, and they may come again as anybody."""
    guest = Member(stack, agent_url)
    assert forget.main([guest.address]) == 0
    refused = post(agent_url, {"prompt": "Show my profile"}, bearer(guest.access_token))
    assert refused.status_code == httpx.codes.UNAUTHORIZED
    assert not stack.guest_item(guest.sub)
