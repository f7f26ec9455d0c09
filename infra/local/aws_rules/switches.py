"""What a test may set: calls that fail, and how fast and busy AWS is.

`PUT /_aws_rules` with a JSON object of `Switches`' fields sets them, each that is left out to its
default, so an empty object puts all of them back. A call that is lost gets no answer until the
switches are set again.
"""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from .calls import Call

PATH = "/_aws_rules"

type Service = Literal["cognito-idp", "dynamodb", "lambda", "secretsmanager", "sesv2"]
type Fault = Literal["lose", "lose_answer", "delay", "throttle", "conflict"]
type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(kw_only=True)
class Plan:
    """What happens to some calls of a service.

    Attributes:
        service: Whose calls, those of Cognito to the triggers among them.
        operation: Such as `UpdateItem`; all by default. Lambda's are not told apart.
        calls: Which ones, counted from 1 since the switch was set; all by default.
        fault: `lose` the call, or its answer alone, `delay` it, `throttle` it, or have it
            `conflict` with a transaction of DynamoDB.
        seconds: How long a delay is.
    """

    service: Service
    fault: Fault
    operation: str | None = None
    calls: list[int] | None = None
    seconds: float = 0
    seen: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for value, known in ((self.service, Service), (self.fault, Fault)):
            if value not in get_args(known.__value__):
                raise ValueError(f"{value!r} is none of {', '.join(get_args(known.__value__))}")
        if not isinstance(self.calls, list | None):
            raise TypeError("'calls' is a list of numbers")
        self.seconds = float(self.seconds)

    def meets(self, call: Call) -> bool:
        """Count a call of the operation; tell whether it is one of those."""
        if call.service != self.service or self.operation not in (None, call.operation):
            return False
        self.seen += 1
        return self.calls is None or self.seen in self.calls


@dataclass(kw_only=True)
class Switches:
    """How AWS is to behave, and what has happened since that was set.

    Attributes:
        faults: Calls that fail.
        mails_per_second: What SES lets the account send.
        transaction_seconds: How long a DynamoDB transaction takes.
        trigger_seconds: How long Cognito waits for a trigger.
        mails_sent_at: When mails were sent, the newest last.
        set_anew: Set once other switches hold.
    """

    faults: list[Plan] = field(default_factory=list)
    mails_per_second: float = 14
    transaction_seconds: float = 0.01
    trigger_seconds: float = 5
    mails_sent_at: deque[float] = field(default_factory=deque, init=False)
    set_anew: asyncio.Event = field(default_factory=asyncio.Event, init=False)


current = Switches()


class SwitchBoard:
    """Answers `PUT /_aws_rules`, and lets all other requests through to an ASGI app."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set the switches."""
        global current
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("PUT", PATH):
            return await self._app(scope, receive, send)
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        try:
            switches = _read(body)
        except (RecursionError, TypeError, ValueError) as error:
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
    if not isinstance(given, dict):
        raise ValueError("the body is no JSON object")
    return Switches(faults=[Plan(**plan) for plan in given.pop("faults", [])], **given)
