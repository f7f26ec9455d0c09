"""A call on its way to one of MiniStack's services, which a rule may refuse, change or pass on."""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

type Answer = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""
type Next = Callable[["Call"], Awaitable[Answer]]
type Rule = Callable[["Call", Next], Awaitable[Answer]]
type Handler = Callable[[str, str, dict[str, str], bytes, dict[str, list[str]]], Awaitable[Answer]]
"""How MiniStack itself calls a service, once it has checked who may."""

# The operations that rules ask for, of services that name them by method and path.
_REST_OPERATIONS = {
    ("POST", "/v2/email/outbound-emails"): "SendEmail",
    ("PUT", "/v2/email/suppression/addresses"): "PutSuppressedDestination",
}


class Refused(Exception):  # noqa: N818 - AWS's answer, not a fault of ours
    """AWS says no.

    Args:
        code: The error's name.
        message: Its text.
        status: Its HTTP status.
        more: What else its body holds.
    """

    def __init__(self, code: str, message: str, status: int = 400, **more: Any) -> None:
        super().__init__(code)
        self._body = {"__type": code, "message": message, "Message": message} | more
        self._headers = {"Content-Type": "application/x-amz-json-1.0", "x-amzn-errortype": code}
        self._status = status

    @property
    def answer(self) -> Answer:
        """Return what the caller gets."""
        return self._status, dict(self._headers), json.dumps(self._body).encode()


@dataclass(frozen=True)
class Call:
    """One call of an API operation.

    Attributes:
        service: As MiniStack names it, such as `cognito-idp`.
    """

    service: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: Mapping[str, list[str]]

    @cached_property
    def operation(self) -> str:
        """Return the operation's name, or an empty text where no rule needs it."""
        if target := self.headers.get("x-amz-target"):
            return target.rpartition(".")[2]
        return _REST_OPERATIONS.get((self.method, self.path.rstrip("/")), "")

    @cached_property
    def request(self) -> dict[str, Any]:
        """Return the parameters; none where the body is no JSON object."""
        try:
            request = json.loads(self.body)
        except ValueError:
            return {}
        return request if isinstance(request, dict) else {}

    def with_parameters(self, **parameters: Any) -> "Call":
        """Return the same call with other parameters beside those it has."""
        return replace(self, body=json.dumps(self.request | parameters).encode())


def answer(body: Mapping[str, Any]) -> Answer:
    """Return what a call is answered with that went well."""
    return 200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(body).encode()


def under(rules: Iterable[Rule], service: str, handler: Handler) -> Handler:
    """Put rules before a service, the first one first."""

    def carry_out(call: Call) -> Awaitable[Answer]:
        return handler(call.method, call.path, dict(call.headers), call.body, dict(call.query))

    first: Next = carry_out
    for rule in reversed([*rules]):
        first = _before(first, rule)

    async def handle(
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        query: dict[str, list[str]],
    ) -> Answer:
        try:
            return await first(Call(service, method, path, headers, body, query))
        except Refused as refused:
            return refused.answer

    return handle


def _before(then: Next, rule: Rule) -> Next:
    return lambda call: rule(call, then)
