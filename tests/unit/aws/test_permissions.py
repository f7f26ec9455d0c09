"""README names all that an operator has to be allowed."""

import re

from infra.local.ministack import ROOT
from tests.aws.permissions import ALWAYS, WITH_AGENT_OR_PAGE, permission_for


def test_readme_lists_each_permission_and_no_other() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    section = readme.partition("### Prove your deployment")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"`([a-z-]+:[A-Z]\w+)`", section)) == sorted(
        (*ALWAYS, *WITH_AGENT_OR_PAGE)
    )


def test_operation_that_no_operator_calls_needs_none() -> None:
    assert permission_for("GetItem") == "dynamodb:GetItem"
    assert permission_for("AssumeRoleWithWebIdentity") == ""
