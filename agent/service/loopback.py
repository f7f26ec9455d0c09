"""Keeps web pages from elsewhere out of what runs on this machine alone.

A browser lets any page call loopback addresses. What tells such a call from one of this machine's
own programs and pages is in its headers: https://www.w3.org/TR/fetch-metadata/. Without imports
of other packages, as MiniStack runs behind it too.
"""

import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

type Scope = MutableMapping[str, Any]
type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type App = Callable[[Scope, Receive, Send], Awaitable[None]]

REFUSED = (
    "This answers programs and pages of this machine alone. "
    "Open it by typing its address, http://127.0.0.1 with its port."
)
_HOST = re.compile(r"(localhost|\d[\d.]*|\[::1\])(?::([1-9]\d{0,4}))?", re.ASCII | re.IGNORECASE)
_ORIGIN = re.compile(r"https?://(.+)")
_OWN_SITES = {b"same-origin", b"same-site", b"none"}


class LoopbackOnly:
    """Answers a request only if its `Host` and the page it comes from, if any, are loopback names.

    A foreign name that was made to lead here is still seen in `Host`. Everything else gets 403 and
    nothing of the app.

    Args:
        app: What answers; every message passes as it comes.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the request before anything else reads it."""
        if scope["type"] not in ("http", "websocket", "lifespan"):
            raise RuntimeError("only http, websocket and lifespan are answered")
        if scope["type"] == "lifespan" or _is_from_here(scope["headers"]):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            body = json.dumps({"error": REFUSED, "code": "not_loopback"}).encode()
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
            ]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})


def _is_from_here(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    sent: dict[bytes, list[bytes]] = {b"host": [], b"origin": [], b"sec-fetch-site": []}
    for name, value in headers:
        if name.lower() in sent:
            sent[name.lower()].append(value)
    origins = [_ORIGIN.fullmatch(origin.decode("latin-1")) for origin in sent[b"origin"]]
    return (
        [_is_loopback(host.decode("latin-1")) for host in sent[b"host"]] == [True]
        and all(origin and _is_loopback(origin[1]) for origin in origins)
        and all(site in _OWN_SITES for site in sent[b"sec-fetch-site"])
    )


def _is_loopback(address: str) -> bool:
    """Tell whether a host, with a port or without, always means this machine."""
    parts = _HOST.fullmatch(address)
    if parts is None or int(parts[2] or 1) > 65535:
        return False
    try:
        return not parts[1][0].isdigit() or ipaddress.IPv4Address(parts[1]).is_loopback
    except ValueError:
        return False
