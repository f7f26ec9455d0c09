"""HTTP servers on loopback that answer as a test says."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class QuietHandler(BaseHTTPRequestHandler):
    """Answers, and logs nothing."""

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextlib.contextmanager
def answering(server: ThreadingHTTPServer) -> Iterator[str]:
    """Answer from a thread until the block ends; yields the address."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    with server:
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
