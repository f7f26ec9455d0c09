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


@pytest.mark.parametrize("error", ["infra.bundling.BundlingError", "infra.settings.SettingsError"])
def test_what_cannot_be_built_ends_the_app_with_its_sentence(error: str) -> None:
    module, _, name = error.rpartition(".")
    code = (
        f"import runpy; from {module} import {name}; from infra import bundling\n"
        f"def build(_handler): raise {name}('mend this')\n"
        "bundling.build_function = build; runpy.run_path('app.py')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={
            "PATH": "/usr/bin:/bin",
            "CDK_CONTEXT_JSON": json.dumps({"sender": "login@example.com"}),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "error: mend this\n")
