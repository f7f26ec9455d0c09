"""What runs beside the sign-in: mails that come back are counted, and newcomers are forgotten."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.aws.check import NotRun, check, require
from tests.aws.sign_in import SignedIn, agent_signs_in
from tests.aws.stack import Stack

_COUNTED_SECONDS = 300
_SWEPT_HOURS = 10 * 24
"""So long ago who is listed there is due at any setting, and within the sweep's two weeks."""


@check(
    "a mail that bounces is counted",
    advice="Look at the configuration set and its event destination in the SES console.",
    only_on_aws="MiniStack's mails never bounce",
)
def bounce_is_counted(stack: Stack) -> None:
    """Have a mail bounce; SES leaves that of its simulator out of the account's own rate."""
    variables = stack.trigger("CreateAuthChallenge")["Environment"]["Variables"]
    configuration_set = variables.get("CONFIGURATION_SET_NAME")
    if not configuration_set:
        raise NotRun("not deployed: the stack has no configuration set")
    stack.begin(stack.new_user(mailbox="bounce").address)
    metric: Any = {
        "Namespace": "AWS/SES",
        "MetricName": "Bounce",
        "Dimensions": [{"Name": "ses:configuration-set", "Value": configuration_set}],
        "Period": 60,
        "Statistics": ["Sum"],
    }
    cloudwatch = stack.client("cloudwatch")
    began_at = datetime.fromtimestamp(stack.started_at, UTC) - timedelta(minutes=1)
    deadline = time.monotonic() + _COUNTED_SECONDS
    while True:
        counted = cloudwatch.get_metric_statistics(
            StartTime=began_at, EndTime=datetime.now(UTC), **metric
        )
        if any(point["Sum"] > 0 for point in counted["Datapoints"]):
            return
        require(time.monotonic() < deadline, "CloudWatch counts no bounce after five minutes")
        time.sleep(10)


@check(
    "the sweep runs, and leaves who has signed in",
    advice="Look at the log of the sweep's function, and at its role.",
    needs=(agent_signs_in,),
)
def sweep_leaves_guests(stack: Stack, signed_in: SignedIn) -> None:
    """List somebody who signed in as a newcomer who is long due, and run the sweep."""
    sub = signed_in.mailed.user.sub
    hour = int(time.time()) // 3600 - _SWEPT_HOURS
    stack.list_newcomer(hour, sub)
    swept = stack.client("lambda").invoke(FunctionName=stack.output("ForgetUnansweredFunctionName"))
    require("FunctionError" not in swept, "the sweep failed")
    require(stack.is_user(sub), "the sweep has removed a user who signed in")
    require(not stack.newcomers(hour), "the sweep has not gone through the list")
