"""What a test may set: calls that fail, and how fast and busy AWS is.

`PUT /_aws_rules` with a JSON object of `Switches`' fields sets them, each that is left out to its
default, so an empty object puts all of them back. A call that is lost gets no answer before that.
"""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from .calls import Answer, Call, Refused, Service

PATH = "/_aws_rules"

type Fault = Literal["lose", "lose_answer", "delay", "throttle", "conflict"]

# Each service's own words: the error's name and status. Those with XML, as STS, are left out.
_THROTTLED = {
    "cognito-idp": ("TooManyRequestsException", 400),
    "dynamodb": ("ThrottlingException", 400),
    "lambda": ("TooManyRequestsException", 429),
    "secretsmanager": ("ThrottlingException", 400),
    "sesv2": ("TooManyRequestsException", 429),
}

type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(kw_only=True)
class Plan:
    """What happens to some calls of a service.

    Attributes:
        service: As MiniStack names it, such as `dynamodb`; of `sesv2` its own name.
        operation: Such as `SendEmail`; all by default. Known of services with JSON, and of SES.
        calls: Which ones, counted from 1 since the switch was set; all by default.
        fault: `lose` the call, or its answer alone, `delay` it, `throttle` it, or have it
            `conflict` with a transaction.
        seconds: How long a delay is.
    """

    service: str
    fault: Fault
    operation: str | None = None
    calls: list[int] | None = None
    seconds: float = 0
    seen: int = field(default=0, init=False)

    def meets(self, call: Call) -> bool:
        """Count a call of the operation; tell whether it is one of those."""
        if call.service != self.service or self.operation not in (None, call.operation):
            return False
        self.seen += 1
        return self.calls is None or self.seen in self.calls


@dataclass(kw_only=True)
class Switches:
    """How AWS is to behave.

    Attributes:
        faults: Calls that fail.
        mails_per_second: What SES lets the account send, as a new one's 14.
        transaction_seconds: How long a DynamoDB transaction takes.
        trigger_seconds: How long Cognito waits for a trigger.
    """

    faults: list[Plan] = field(default_factory=list)
    mails_per_second: float = 14
    transaction_seconds: float = 0.01
    trigger_seconds: float = 5
    mails_sent_at: deque[float] = field(default_factory=deque, init=False)
    set_anew: asyncio.Event = field(default_factory=asyncio.Event, init=False)


current = Switches()


async def faults(call: Call, carry_on: Service) -> Answer:
    """Lose, delay or refuse the calls that are to fail."""
    switches = current
    plans = [plan for plan in switches.faults if plan.meets(call)]
    for plan in plans:
        match plan.fault:
            case "delay":
                await asyncio.sleep(plan.seconds)
            case "lose":
                await switches.set_anew.wait()
                raise _lost()
            case "throttle":
                code, status = _THROTTLED.get(call.service, _THROTTLED["dynamodb"])
                raise Refused(code, "Rate exceeded", status)
            case "conflict":
                raise Refused(
                    "TransactionConflictException", "Transaction is ongoing for the item."
                )
    answered = await carry_on(call)
    if any(plan.fault == "lose_answer" for plan in plans):
        await switches.set_anew.wait()
        raise _lost()
    return answered


def _lost() -> Refused:
    """Answer whoever still waits, once the switches are set anew."""
    return Refused("InternalServerError", "The call was lost.", 500)


class SwitchBoard:
    """Answers `PUT /_aws_rules`, and lets all other requests through to an ASGI app."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set the switches."""
        global current
        if scope["type"] != "http" or scope["path"] != PATH:
            return await self._app(scope, receive, send)
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        try:
            switches = _read(body)
        except (AttributeError, TypeError, ValueError) as error:
            status, text = 400, json.dumps({"error": str(error)})
        else:
            current.set_anew.set()
            current, status, text = switches, 200, "{}"
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})
        return None


def _read(body: bytes) -> Switches:
    given = json.loads(body)
    plans = [Plan(**plan) for plan in given.pop("faults", [])]
    if unknown := {plan.fault for plan in plans} - {*get_args(Fault.__value__)}:
        raise ValueError(f"no such fault: {', '.join(sorted(unknown))}")
    return Switches(faults=plans, **given)
