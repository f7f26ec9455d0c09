"""One TCP connection on which a test decides what is sent when."""

import http.client
import io
import json
import socket
from dataclasses import dataclass
from typing import Any, Self, cast
from urllib.parse import urlsplit

from tests.support.agent_process import SESSION_HEADER
from tests.support.chunks import chunks_in, outputs_of


@dataclass(frozen=True)
class Answer:
    """One response: its status, and its body as text."""

    status: int
    text: str

    @property
    def outputs(self) -> list[Any]:
        """The outputs of the tools that were used."""
        return outputs_of(chunks_in(self.text.split("\n")))


def request(
    session_id: str, prompt: str, *headers: tuple[str, str], locale: str | None = None
) -> bytes:
    """Return one whole `POST /invocations`."""
    body = json.dumps({"prompt": prompt, "locale": locale}).encode()
    lines = ["POST /invocations HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}", f"{SESSION_HEADER}: {session_id}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


class RawConnection:
    """Sends bytes, and reads one response after the other."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        assert address.hostname
        assert address.port
        self._socket = socket.create_connection((address.hostname, address.port), timeout=30)
        self._file = self._socket.makefile("rb")
        self._responses = _Shared(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()  # else the socket stays open
        self._socket.close()

    def send(self, content: bytes) -> None:
        """Send these bytes and no more."""
        self._socket.sendall(content)

    def wait_for_answer(self) -> None:
        """Wait until the first byte of the next response is there; none is taken."""
        self._responses.peek()

    def answer(self) -> Answer:
        """Read the next response."""
        response = http.client.HTTPResponse(cast(socket.socket, self._responses))
        response.begin()
        return Answer(response.status, response.read().decode())


class _Shared(io.BufferedIOBase):
    """The file of a socket, which a response cannot close."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file

    def makefile(self, *_: Any) -> "_Shared":
        return self

    def close(self) -> None:
        """Stay open for the next response."""

    def peek(self) -> bytes:
        return self._file.peek(1)

    def read(self, size: int | None = -1) -> bytes:
        return self._file.read(size)

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)

    def readline(self, size: int | None = -1) -> bytes:
        return self._file.readline(-1 if size is None else size)
