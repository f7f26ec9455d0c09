"""Forgetting a guest from the terminal: what it says, in which order it removes, and faults."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from agent import deployment, forget
from tests.support.fakes import POOL_ID, aws_error

ADA, SUB = "ada@example.com", "sub-of-ada"
OUTPUTS = {
    "UserPoolId": POOL_ID,
    "GuestsTableName": "guests",
    "OtpLedgerTableName": "ledger",
    "endpoint_url": "http://127.0.0.1:1",
    "region": "eu-west-1",
}


class FakeAws:
    """A pool and two tables, as far as the command calls them.

    Attributes:
        users: Addresses by `sub`.
        tables: Items by table and key.
        calls: What was changed, in order.
        fail_at: The number of the change that fails, counted from 0.
    """

    class exceptions:  # noqa: N801 - as boto3 has it
        """The clients' errors by name."""

        class UserNotFoundException(ClientError):  # noqa: N818
            """No such user."""

        class ConditionalCheckFailedException(ClientError):  # noqa: N818
            """The condition does not hold."""

    def __init__(self) -> None:
        self.users: dict[str, str] = {}
        self.tables: dict[str, dict[str, Any]] = {"guests": {}, "ledger": {}}
        self.calls: list[str] = []
        self.fail_at: int | None = None

    def add_ada(self, *, user: bool = True) -> None:
        if user:
            self.users[SUB] = ADA
        self.add_record(SUB, ADA, "GST-2026-AAAAAA")
        self.tables["ledger"] |= {SUB: {}, "sub-of-bob": {}}
        self.tables["guests"]["newcomers#5"] = {"subs": {"SS": [SUB, "sub-of-bob"]}}
        self.tables["guests"]["newcomers#6"] = {"subs": {"SS": ["sub-of-bob"]}}

    def add_record(self, sub: str, email: str, number: str) -> None:
        self.tables["guests"] |= {
            sub: {"email": {"S": email}, "guest_id": {"S": number}},
            f"guest_id#{number}": {"claimed_at": {"N": "1"}},
        }

    def admin_get_user(self, **arguments: Any) -> dict[str, Any]:
        name = arguments["Username"]
        for sub, email in self.users.items():
            if name in (sub, email):
                return {"UserAttributes": [{"Name": "sub", "Value": sub}]}
        raise self.exceptions.UserNotFoundException({"Error": {}}, "AdminGetUser")

    def admin_disable_user(self, **arguments: Any) -> None:
        self._change(f"disable {arguments['Username']}")

    def admin_user_global_sign_out(self, **arguments: Any) -> None:
        self._change(f"sign out {arguments['Username']}")

    def admin_delete_user(self, **arguments: Any) -> None:
        self._change(f"delete user {arguments['Username']}")
        del self.users[arguments["Username"]]

    def get_paginator(self, _operation: str) -> "FakeAws":
        return self

    def paginate(self, **arguments: Any) -> Iterator[dict[str, Any]]:
        assert arguments["ConsistentRead"]
        for key, item in self.tables[arguments["TableName"]].items():
            yield {"Items": [{"cognito_sub": {"S": key}, **item}]}

    def delete_item(self, **arguments: Any) -> dict[str, Any]:
        [(_, key)] = arguments["Key"].items()
        self._change(f"delete {key['S']}")
        item = self.tables[arguments["TableName"]].pop(key["S"], None)
        return {} if item is None else {"Attributes": {"key": key}}

    def update_item(self, **arguments: Any) -> None:
        key = arguments["Key"]["cognito_sub"]["S"]
        self._change(f"take off {key}")
        [sub] = arguments["ExpressionAttributeValues"][":sub"]["SS"]
        self.tables["guests"][key]["subs"]["SS"].remove(sub)

    def _change(self, what: str) -> None:
        if len(self.calls) == self.fail_at:
            self.fail_at = None
            raise aws_error("DeleteItem", "AccessDeniedException", "not allowed")
        self.calls.append(what)


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeAws:
    """Return the local deployment's AWS, in the folder of its outputs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "outputs.json").write_text(json.dumps(OUTPUTS))
    made: Any = FakeAws()
    monkeypatch.setattr(
        forget.Forgetter,
        "connect",
        lambda outputs, _session: forget.Forgetter(made, made, outputs),
    )
    faked: FakeAws = made
    return faked


def left_of_ada(aws: FakeAws) -> bool:
    return SUB in json.dumps([aws.users, aws.tables]) or ADA in json.dumps(aws.tables)


def test_guest_is_removed_everywhere_and_each_thing_found_is_named(
    aws: FakeAws, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.add_ada()
    assert forget.main([f" {ADA} "]) == 0
    assert not left_of_ada(aws)
    assert aws.tables["ledger"].keys() == {"sub-of-bob"}
    assert aws.tables["guests"].keys() == {"newcomers#5", "newcomers#6"}
    assert capsys.readouterr().out.startswith(
        f"User {SUB}: found, disabled and signed out everywhere.\n"
        "Reading the guests' table, all of it, for what else has the address.\n"
        "List of newcomers: taken off it.\n"
        f"Ledger item {SUB}: removed.\n"
        "Guest number GST-2026-AAAAAA: removed.\n"
        "Guest record: removed.\n"
        f"User {SUB}: removed.\n"
        "Not removed by this:\n"
    )


def test_second_run_says_that_nothing_is_left(
    aws: FakeAws, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.add_ada()
    forget.main([ADA])
    capsys.readouterr()
    aws.calls.clear()
    assert forget.main([ADA]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("User: there is none.\n")
    assert f"Nothing of {ADA} is left.\n" in printed
    assert not aws.calls


def test_record_of_a_user_who_is_gone_is_found_by_its_address(aws: FakeAws) -> None:
    """In whatever case it is written."""
    aws.add_ada(user=False)
    assert forget.main([ADA.upper()]) == 0
    assert not left_of_ada(aws)


def test_older_record_of_the_same_address_goes_too(aws: FakeAws) -> None:
    """Its user was deleted by hand, and the guest came again."""
    aws.add_ada()
    aws.add_record("sub-of-old", ADA, "GST-2025-BBBBBB")
    assert forget.main([ADA]) == 0
    assert not left_of_ada(aws)
    assert "guest_id#GST-2025-BBBBBB" not in aws.tables["guests"]


def test_guest_who_has_another_address_by_now_stays(
    aws: FakeAws, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their record takes it over at their next sign-in."""
    aws.add_ada()
    aws.users[SUB] = "ada@new.example.com"
    assert forget.main([ADA]) == 0
    assert not aws.calls
    assert "Guest record GST-2026-AAAAAA: left" in capsys.readouterr().out


def test_cut_off_anywhere_it_goes_on(aws: FakeAws, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(7):
        aws.add_ada()
        aws.calls.clear()
        aws.fail_at = number
        assert forget.main([ADA]) == 1
        assert capsys.readouterr().err == (
            "DeleteItem: AccessDeniedException: not allowed\n"
            "Not all is removed: mend that, and run this again.\n"
        )
        assert forget.main([ADA]) == 0
        assert not left_of_ada(aws), number
    assert aws.calls[-1] == f"delete user {SUB}"


def test_no_connection_is_told_in_a_line(
    aws: FakeAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

    monkeypatch.setattr(aws, "admin_get_user", fail)
    assert forget.main([ADA]) == 1
    assert "Not all is removed: run this again." in capsys.readouterr().err


def test_without_a_deployment_or_its_outputs_a_line_says_what_to_do(
    aws: FakeAws, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment.OUTPUTS_FILE.write_text(json.dumps({"region": "eu-west-1"}))
    assert forget.main([ADA]) == 1
    deployment.OUTPUTS_FILE.unlink()
    assert forget.main([ADA]) == 1
    one, other = capsys.readouterr().err.splitlines()
    assert "no output GuestsTableName, OtpLedgerTableName, UserPoolId" in one
    assert "make deploy-local" in other
    assert not aws.calls
