"""The sweep's handler: its settings, its time, and what it says when something goes wrong."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from infra.local.ministack import ROOT
from lambdas.email_otp import clients
from lambdas.email_otp.forgetting import NotAllForgottenError
from lambdas.email_otp.observability import count
from lambdas.email_otp.settings import SettingsError
from tests.support.triggers import CONTEXT, aws_session

NAME = "lambdas.forget_unanswered"
ENVIRONMENT = {
    "USER_POOL_ID": "us-east-1_EXAMPLE01",
    "GUESTS_TABLE_NAME": "guests",
    "LEDGER_TABLE_NAME": "ledger",
    "FORGET_UNANSWERED_AFTER_HOURS": "48",
}


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(clients, "session", aws_session)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    sys.modules.pop(NAME, None)
    yield
    sys.modules.pop(NAME, None)


@pytest.fixture
def module(configured: None) -> ModuleType:  # noqa: ARG001 - it is imported with that
    return importlib.import_module(NAME)


def run(module: ModuleType, outcome: Exception | None = None) -> list[float]:
    """Call the handler over a sweep that ends as told; returns what time it was given."""
    given = []

    def sweep(seconds_left: Any) -> None:
        given.append(seconds_left())
        count("Forgotten")
        if outcome:
            raise outcome

    module.sweep = SimpleNamespace(run=sweep)  # type: ignore[attr-defined]
    context = SimpleNamespace(**vars(CONTEXT), get_remaining_time_in_millis=lambda: 61_500)
    module.handler({"time": "2026-01-01T00:17:00Z"}, context)
    return given


def test_settings_come_from_the_environment(module: ModuleType) -> None:
    assert module.settings.forget_unanswered_after_hours == 48
    assert module.resources.ledger_table_name == "ledger"


@pytest.mark.parametrize("name", ENVIRONMENT)
@pytest.mark.usefixtures("configured")
def test_variable_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(SettingsError, match=f"^{name} is "):
        importlib.import_module(NAME)


def test_sweep_knows_how_much_time_is_left_and_counts(
    module: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(module) == [61.5]
    [metric] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert metric["Forgotten"] == [1.0]


def test_failure_is_told_by_a_fixed_text_and_logged_without_its_own(
    module: ModuleType, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NotAllForgottenError, match=r"^NOT_ALL_FORGOTTEN$") as raised:
        run(module, RuntimeError("quotes ada@example.com"))
    assert raised.value.__context__ is None
    [record] = caplog.records
    assert record.getMessage() == "sweep failed"
    assert vars(record)["error_type"] == "RuntimeError"
    assert "ada@" not in caplog.text
    assert "Forgotten" in capsys.readouterr().out


def test_users_who_were_not_forgotten_make_the_run_a_failure(
    module: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    """They are in the log by then."""
    with pytest.raises(NotAllForgottenError):
        run(module, NotAllForgottenError())
    assert not caplog.records


def test_answers_of_aws_are_logged_at_no_level() -> None:
    """T22: they hold addresses. In a process of its own: the triggers quieten botocore, too."""
    code = (
        "import logging, lambdas.email_otp.forgetting; logging.basicConfig(level=logging.DEBUG); "
        "print(logging.getLogger('botocore.parsers').isEnabledFor(logging.INFO))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
