"""T36: what a service on loopback answers, by the headers alone, and how it refuses the rest."""
# ruff: noqa: S104 - what looks like a loopback address and is none

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from agent.service.loopback import LoopbackOnly, Message, Receive, Scope, Send

HOST = (b"host", b"127.0.0.1:8080")


class Service:
    """Answers in parts, and keeps what it was asked."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.received: list[Message] = []
        self.sent_before_each_part: list[int] = []
        self.sent: list[Message] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read one message and answer with three."""
        self.scopes.append(scope)
        self.received.append(await receive())
        for message in _ANSWER:
            self.sent_before_each_part.append(len(self.sent))
            await send(message)


_ANSWER: list[Message] = [
    {"type": "http.response.start", "status": 200, "headers": []},
    {"type": "http.response.body", "body": b"one", "more_body": True},
    {"type": "http.response.body", "body": b"two", "more_body": False},
]
_REQUEST: Message = {"type": "http.request", "body": b"body", "more_body": False}


def ask(*headers: tuple[bytes, bytes], kind: str = "http", **scope: Any) -> Service:
    """Send a request with just these headers."""
    service = Service()
    messages: Iterator[Message] = iter([_REQUEST])

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        service.sent.append(message)

    whole = {"type": kind, "headers": list(headers), **scope}
    asyncio.run(LoopbackOnly(service)(whole, receive, send))
    return service


def was_refused(service: Service) -> bool:
    """Whether it was told why, and the service was not asked; anything between fails."""
    if service.scopes:
        assert service.sent == _ANSWER
        return False
    start, body = service.sent
    assert start["status"] == 403
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"application/json"
    assert int(headers[b"content-length"]) == len(body["body"])
    assert not [name for name in headers if name.startswith(b"access-control-")]
    answer = json.loads(body["body"])
    assert answer.keys() == {"error", "code"}
    assert answer["code"] == "not_loopback"
    assert "http://127.0.0.1" in answer["error"]
    assert not body.get("more_body")
    return True


LOOPBACK = [
    "localhost",
    "localhost:8080",
    "LocalHost:8080",
    "127.0.0.1",
    "127.0.0.1:1",
    "127.0.0.1:65535",
    "127.0.0.2:80",
    "127.255.255.255",
    "[::1]",
    "[::1]:4566",
]
FOREIGN = [
    "",
    " ",
    "evil.example.com",
    "evil.example.com:8080",
    "localhost.evil.example",
    "localhost.evil.example:8080",
    "127.0.0.1.evil.example",
    "evil.localhost",
    "localhost.",
    "localhost.:8080",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "127.0.0.01",
    "127.0.0.256",
    "127.0.0.1.1",
    "128.0.0.1",
    "0.0.0.0",
    "0",
    ".",
    "...",
    ".127.0.0.1",
    ".:80",
    "10.0.0.1",
    "2130706433",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "::1",
    "[::]",
    "[::2]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::1%lo]",
    "[::1]evil.example",
    "user@localhost",
    "localhost@evil.example",
    "localhost:8080@evil.example",
    "localhost:",
    "localhost:0",
    "localhost:065",
    "localhost:65536",
    "localhost:999999",
    "localhost:80:80",
    "localhost:-1",
    "localhost:8080.evil.example",
    "localhost:8080/",
    "localhost/",
    "localhost#",
    "localhost?",
    "localhost\\",
    "localhost,evil.example",
    "evil.example,localhost",
    "localhost evil.example",
    " localhost",
    "localhost ",
    "localhost\n",
    "localhost:80\n",
    "localhost\x00",
    "http://localhost",
    "\uff11\uff12\uff17.0.0.1",
    "localho\u017ft",
    "127.0.0.\u0661",
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_host_is_answered_without_an_origin(host: str) -> None:
    assert not was_refused(ask((b"host", host.encode())))


@pytest.mark.parametrize("host", FOREIGN)
def test_any_other_host_is_refused(host: str) -> None:
    assert was_refused(ask((b"host", host.encode())))


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("origin", LOOPBACK)
def test_page_of_this_machine_is_answered(scheme: str, origin: str) -> None:
    assert not was_refused(ask(HOST, (b"origin", f"{scheme}://{origin}".encode())))


@pytest.mark.parametrize(
    "origin",
    [
        *(f"http://{host}" for host in FOREIGN),
        *(f"https://{host}" for host in FOREIGN),
        "",
        "null",
        "localhost",
        "//localhost",
        "http:localhost",
        "http:/localhost",
        "HTTP://localhost",
        "ftp://localhost",
        "file://",
        "file://localhost",
        "chrome-extension://localhost",
        "ahttp://localhost",
        "http://localhost http://localhost",
        "http://localhost, null",
    ],
)
def test_page_from_elsewhere_is_refused(origin: str) -> None:
    assert was_refused(ask(HOST, (b"origin", origin.encode())))


@pytest.mark.parametrize("site", ["same-origin", "same-site", "none"])
def test_request_the_browser_calls_its_own_is_answered(site: str) -> None:
    assert not was_refused(ask(HOST, (b"sec-fetch-site", site.encode())))


@pytest.mark.parametrize(
    "site", ["cross-site", "Cross-Site", "", "none, cross-site", "none ", "anything"]
)
def test_request_the_browser_calls_cross_site_is_refused(site: str) -> None:
    assert was_refused(ask(HOST, (b"sec-fetch-site", site.encode())))


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="no host"),
        pytest.param([HOST, HOST], id="two hosts, the same"),
        pytest.param([HOST, (b"host", b"evil.example.com")], id="two hosts"),
        pytest.param([(b"host", b"evil.example.com"), HOST], id="two hosts, foreign first"),
        pytest.param([HOST, (b"HOST", b"evil.example.com")], id="another spelling of the name"),
        pytest.param([(b"x-forwarded-host", b"localhost")], id="a forwarded host alone"),
        pytest.param(
            [HOST, (b"origin", b"http://localhost"), (b"origin", b"http://evil.example.com")],
            id="two origins",
        ),
        pytest.param(
            [HOST, (b"sec-fetch-site", b"none"), (b"sec-fetch-site", b"cross-site")],
            id="two sites",
        ),
        pytest.param(
            [HOST, (b"Origin", b"http://evil.example.com")], id="another spelling of origin"
        ),
        pytest.param([(b"host", b"\xff\xfe")], id="no text at all"),
    ],
)
def test_headers_that_could_be_read_two_ways_are_refused(
    headers: list[tuple[bytes, bytes]],
) -> None:
    assert was_refused(ask(*headers))


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "TRACE"])
def test_method_and_path_make_no_difference(method: str) -> None:
    foreign = (b"origin", b"http://evil.example.com")
    assert was_refused(ask(HOST, foreign, method=method, path="/_ministack/health"))
    assert not was_refused(ask(HOST, method=method, path="/_ministack/health"))


def test_refusal_repeats_nothing_of_the_request() -> None:
    refusals = [
        ask((b"host", b"<script>evil</script>"), path="/<script>").sent,
        ask(HOST, (b"origin", b"http://evil.example.com"), path="/other").sent,
    ]
    assert refusals[0] == refusals[1]


def test_messages_pass_through_one_by_one_as_they_come() -> None:
    service = ask(HOST)
    assert service.received == [_REQUEST]
    assert service.received[0] is _REQUEST
    assert service.sent_before_each_part == [0, 1, 2]
    assert all(sent is part for sent, part in zip(service.sent, _ANSWER, strict=True))


def test_web_socket_follows_the_same_rules() -> None:
    assert ask(HOST, kind="websocket").scopes
    for header in [(b"origin", b"http://evil.example.com"), (b"host", b"evil.example.com")]:
        service = ask(HOST, header, kind="websocket")
        assert not service.scopes
        (close,) = service.sent
        assert close["type"] == "websocket.close"


def test_lifespan_passes() -> None:
    service = Service()
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        messages.append(message)

    scope: Scope = {"type": "lifespan"}
    asyncio.run(LoopbackOnly(service)(scope, receive, send))
    assert service.scopes == [scope]
    assert service.received == [{"type": "lifespan.startup"}]


def test_unknown_kind_of_connection_reaches_no_service() -> None:
    with pytest.raises(RuntimeError, match="http, websocket and lifespan"):
        ask(HOST, kind="webtransport")
