"""What a sign-in leaves behind: the ledger's items, and logs."""

import time
from typing import Any

from botocore.exceptions import ClientError

from tests.aws.check import NotRun, check, code_of, require
from tests.aws.sign_in import SignedIn, agent_signs_in, wrong_codes_end_session
from tests.aws.stack import Stack, User
from tests.support.leak_search import find_leaks

TRIGGERS = ("DefineAuthChallenge", "CreateAuthChallenge", "VerifyAuthChallengeResponse")
_LOGGED_SECONDS = 30
_CLOCK_SECONDS = 60
"""How far this machine's clock may be ahead of AWS's."""
_WRITTEN_BY_US = '"message":"challenge created"'


@check(
    "the ledger holds no code and no address",
    advice="Report it as a vulnerability, see SECURITY.md.",
    needs=(agent_signs_in, wrong_codes_end_session),
)
def ledger_is_clean(stack: Stack, signed_in: SignedIn, user: User) -> None:
    items = [stack.ledger_item(sub) for sub in (signed_in.mailed.user.sub, user.sub)]
    require(all(items), "a user who was mailed a code has no item")
    _require_clean(stack, {"the ledger": items})


@check(
    "the triggers' logs hold no code, address, token or Session",
    advice="Report it as a vulnerability, see SECURITY.md, and delete those logs.",
    needs=(agent_signs_in,),
)
def trigger_logs_are_clean(stack: Stack, _: SignedIn) -> None:
    groups = {name: stack.trigger(name)["LoggingConfig"]["LogGroup"] for name in TRIGGERS}
    deadline = time.monotonic() + _LOGGED_SECONDS
    while not any(_WRITTEN_BY_US in line for line in _logged(stack, groups["CreateAuthChallenge"])):
        require(time.monotonic() < deadline, "the Create function has logged no sign-in")
        time.sleep(2)
    _require_clean(stack, {f"{name}'s log": _logged(stack, groups[name]) for name in groups})


@check(
    "the agent's logs hold no code, address, token or Session",
    advice="Report it as a vulnerability, see SECURITY.md, and delete those logs.",
    only_on_aws="MiniStack has no AgentCore, which keeps these logs",
)
def agent_logs_are_clean(stack: Stack) -> None:
    places: dict[str, Any] = {}
    for output in ("GuestRuntimeArn", "MemberRuntimeArn"):
        runtime = stack.output(output).rpartition("/")[2]
        group = f"/aws/bedrock-agentcore/runtimes/{runtime}-DEFAULT"
        try:
            places[f"{output}'s log"] = _logged(stack, group)
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":
                raise
            raise NotRun(f"the runtime of {output} has no log group yet") from None
    _require_clean(stack, places)


def _logged(stack: Stack, group: str) -> list[str]:
    pages = stack.client("logs").get_paginator("filter_log_events")
    since = int((stack.started_at - _CLOCK_SECONDS) * 1000)
    return [
        event["message"]
        for page in pages.paginate(logGroupName=group, startTime=since)
        for event in page["events"]
    ]


def _require_clean(stack: Stack, places: dict[str, Any]) -> None:
    leaks = find_leaks(places, stack.secrets)
    require(not leaks, "; ".join(sorted(set(leaks))))
