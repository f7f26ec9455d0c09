"""The CDK app as the CDK CLI starts it."""

import json
import subprocess
import sys

import pytest

from infra.local.ministack import ROOT


@pytest.mark.parametrize(
    ("context", "sentence"),
    [
        ({}, "error: sender is missing: pass the address that sign-in mails come from"),
        ({"sender": "x"}, "error: sender is 'x': pass one plain address"),
    ],
)
def test_app_ends_with_a_sentence_and_no_traceback(context: dict[str, str], sentence: str) -> None:
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "CDK_CONTEXT_JSON": json.dumps(context)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1
