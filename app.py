"""The CDK app: settings from the context, one stack, no AWS call while synthesising."""

import sys

import infra  # noqa: F401 - it picks the Node.js that `import aws_cdk` starts

# isort: split
import aws_cdk as cdk

from infra.bundling import BundlingError
from infra.settings import Settings, SettingsError
from infra.stack import EmailOtpStack

app = cdk.App()
try:
    settings = Settings.from_context(app.node.get_all_context())
    EmailOtpStack(app, "EmailOtp", settings=settings)
except (SettingsError, BundlingError) as error:
    sys.exit(f"error: {error}")
app.synth()
