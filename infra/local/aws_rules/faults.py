"""Calls that fail because a switch says so: lost, delayed, throttled, or in conflict."""

import asyncio

from . import switches
from .calls import Answer, Call, Next, Refused
from .transactions import conflict

_THROTTLED = {
    "cognito-idp": ("TooManyRequestsException", 400),
    "dynamodb": ("ThrottlingException", 400),
    "lambda": ("TooManyRequestsException", 429),
    "secretsmanager": ("ThrottlingException", 400),
    "sesv2": ("TooManyRequestsException", 429),
}
"""Each service's own error, and its status, from its API reference."""


async def faults(call: Call, carry_on: Next) -> Answer:
    """Lose, delay or refuse the calls that are to fail."""
    now = switches.current
    plans = [plan for plan in now.faults if plan.meets(call)]
    for plan in plans:
        match plan.fault:
            case "delay":
                await asyncio.sleep(plan.seconds)
            case "lose":
                await now.set_anew.wait()
                raise _lost()
            case "throttle":
                code, status = _THROTTLED[call.service]
                raise Refused(code, "Rate exceeded", status)
            case "conflict":
                raise conflict(call)
    answered = await carry_on(call)
    if any(plan.fault == "lose_answer" for plan in plans):
        await now.set_anew.wait()
        raise _lost()
    return answered


def _lost() -> Refused:
    """Answer whoever still waits, once the switches are set again."""
    return Refused("InternalServerError", "The call was lost.", 500)
