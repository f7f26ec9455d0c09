"""Which module may import which: no lower layer knows a higher one, and there is no circle."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.ministack import ROOT

FOLDERS = ("agent", "infra", "lambdas")


def modules() -> Iterator[tuple[str, Path]]:
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            if "node_modules" not in path.parts:
                parts = path.relative_to(ROOT).with_suffix("").parts
                yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def imports(module: str) -> set[str]:
    """Return which of our modules a module imports, also inside functions."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    named: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(filter(None, [package, base]))
            full = [f"{base}.{alias.name}" for alias in node.names]
            named |= {name if name in MODULES else base for name in full}
    return (named & MODULES.keys()) - {module}


GRAPH = {module: imports(module) for module in MODULES}


@pytest.mark.parametrize(
    ("who", "never"),
    [
        ("lambdas", "agent"),
        ("lambdas", "infra"),
        ("lambdas.email_otp", "lambdas.create_auth_challenge"),
        ("lambdas.email_otp", "lambdas.define_auth_challenge"),
        ("lambdas.email_otp", "lambdas.verify_auth_challenge_response"),
        ("lambdas.email_otp", "lambdas.forget_unanswered"),
        ("agent", "infra"),
        ("agent", "lambdas"),
        ("agent.sign_in", "agent.service"),
        ("agent.sign_in", "agent.main"),
        ("agent.service", "agent.main"),
        ("agent.try_login", "agent.service"),
        ("agent.forget", "agent.service"),
    ],
)
def test_lower_layer_imports_no_higher_one(who: str, never: str) -> None:
    assert within(who), f"{who} is no module of ours"
    assert within(never), f"{never} is no module of ours"
    assert not {m: GRAPH[m] & within(never) for m in within(who) if GRAPH[m] & within(never)}


def test_nothing_that_is_deployed_imports_the_embedded_aws() -> None:
    deployed = set(MODULES) - within("infra.local")
    assert not {m for m in deployed if GRAPH[m] & within("infra.local")}


def test_no_two_modules_import_each_other() -> None:
    """Nor do any more in a circle; a package's face imports its own modules."""
    left = {module: set(found) for module, found in GRAPH.items()}
    while free := [module for module, found in left.items() if not found & left.keys()]:
        for module in free:
            del left[module]
    assert not left


def within(name: str) -> set[str]:
    return {module for module in MODULES if module == name or module.startswith(f"{name}.")}
