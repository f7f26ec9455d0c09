"""docs/security.md as its tests read it: tables by the heading that they stand under."""

import re

from infra.local.ministack import ROOT


def security_page() -> str:
    """Return the page, each of its sentences on one line."""
    return " ".join((ROOT / "docs" / "security.md").read_text().split())


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the one table under a heading, without its first two lines."""
    page = (ROOT / "docs" / "security.md").read_text()
    found = re.search(rf"^#+ {re.escape(heading)}$(.*?)(^#|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, heading
    lines = [line for line in found[1].splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert table
    assert {len(row) for row in table} == {len(lines[0].strip("|").split("|"))}, heading
    return table
