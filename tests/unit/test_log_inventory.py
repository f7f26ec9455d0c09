"""README's log inventory: it has every message that we log, and every key the triggers add."""

import ast
from collections.abc import Iterator

import pytest

from infra.local.ministack import ROOT

LOGGERS = {"logger", "_log"}
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
INVENTORY = (
    (ROOT / "README.md")
    .read_text("utf-8")
    .partition("### What to look for in the logs")[2]
    .partition("\n## ")[0]
)


def logged(package: str) -> Iterator[ast.Call]:
    """Yield each call that writes a log line."""
    for path in (ROOT / package).rglob("*.py"):
        if "node_modules" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in LOGGERS
                and node.func.attr in LEVELS
            ):
                yield node


@pytest.mark.parametrize("package", ["lambdas", "agent"])
def test_inventory_has_every_message(package: str) -> None:
    """T46: and each is a constant."""
    calls = list(logged(package))
    assert len(calls) > 5
    for call in calls:
        message = call.args[0]
        assert isinstance(message, ast.Constant), ast.unparse(call)
        assert isinstance(message.value, str)
        assert f"`{message.value}`" in INVENTORY


def test_inventory_has_every_key_of_the_triggers() -> None:
    keys = {keyword.arg for call in logged("lambdas") for keyword in call.keywords}
    assert keys >= {"sub", "decision", "message_id"}
    assert not {key for key in keys if f"`{key}`" not in INVENTORY}
