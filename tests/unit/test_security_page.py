"""docs/security.md: each requirement has its row, and each test that a row names is there."""

import ast
import re
from functools import cache

import pytest

from infra.local.ministack import ROOT
from tests.support.security_page import rows

# ASVS 5.0.0: how many requirements each section has, all levels.
# https://github.com/OWASP/ASVS/tree/v5.0.0_release/5.0/en
ASVS = {
    "V6 Authentication": {1: 3, 2: 12, 3: 8, 4: 6, 5: 8, 6: 4, 7: 2, 8: 4},
    "V7 Session management": {1: 3, 2: 4, 3: 2, 4: 5, 5: 3, 6: 2},
    "V9 Self-contained tokens": {1: 3, 2: 4},
    "V16 Security logging and error handling": {1: 1, 2: 5, 3: 4, 4: 3, 5: 4},
}
# Those of level 1.
LEVEL_1 = {
    *("V6.1.1", "V6.2.1 to V6.2.12", "V6.3.1", "V6.3.2", "V6.4.1", "V6.4.2"),
    *("V7.2.1", "V7.2.2", "V7.2.3", "V7.2.4", "V7.4.1", "V7.4.2"),
    *("V9.1.1", "V9.1.2", "V9.1.3", "V9.2.1"),
}
TABLES = [*ASVS, "Authenticators and sessions"]


@cache
def defined_in(path: str) -> set[str]:
    """Return the names of a file's tests, without running or importing it."""
    tree = ast.parse((ROOT / "tests" / path).read_text())
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return {each.name for each in functions if each.name.startswith("test_")}


def named(text: str) -> list[tuple[str, str]]:
    return [(path, test) for path, test in re.findall(r"`([\w/]+\.py)::(\w+)`", text)]


@pytest.mark.parametrize("heading", ASVS)
def test_every_requirement_of_asvs_has_one_row(heading: str) -> None:
    chapter = heading.split()[0]
    found: list[str] = []
    for requirement, *_ in rows(heading):
        first, _, last = requirement.partition(" to ")
        section, _, number = first.rpartition(".")
        until = (last or first).rpartition(".")[2]
        found += [f"{section}.{each}" for each in range(int(number), int(until) + 1)]
    assert found == [
        f"{chapter}.{section}.{number}"
        for section, count in ASVS[heading].items()
        for number in range(1, count + 1)
    ]


@pytest.mark.parametrize("heading", TABLES)
def test_every_test_that_is_named_exists(heading: str) -> None:
    missing = [
        f"{path}::{test}"
        for *_, shown_by in rows(heading)
        for path, test in named(shown_by)
        if test not in defined_in(path)
    ]
    assert missing == []


@pytest.mark.parametrize("heading", TABLES)
def test_what_is_met_names_a_test_and_what_is_not_says_why(heading: str) -> None:
    for requirement, _, standing, shown_by in rows(heading):
        assert standing in {"met", "not met", "not ours"}, requirement
        assert len(named(shown_by)) == shown_by.count("::"), requirement
        if standing == "met":
            assert named(shown_by), requirement
        else:
            assert re.sub(r"`[^`]*`", "", shown_by).strip(), requirement


def test_nothing_of_level_1_is_open() -> None:
    standings = {row[0]: row[2] for heading in ASVS for row in rows(heading)}
    assert {each for each in LEVEL_1 if standings[each] == "not met"} == set()


def test_nothing_is_left_to_be_named() -> None:
    assert "to name" not in (ROOT / "docs" / "security.md").read_text("utf-8")
