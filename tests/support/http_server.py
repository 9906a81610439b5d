"""Real HTTP servers on loopback, for the tests of what calls other servers."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class QuietHandler(BaseHTTPRequestHandler):
    """Answers requests and prints nothing about it."""

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    """Takes many connections at once: what finds no place waits a second or more before it tries again."""

    request_queue_size = 128
    daemon_threads = True


@contextmanager
def serving(
    handler: type[BaseHTTPRequestHandler], port: int = 0, *, tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Serve requests with this handler until the end of the block, at this port or any; gives the server's base URL.

    With `tls` that is `https://localhost`.
    """
    server = _Server(("127.0.0.1", port), handler)
    base = "http://127.0.0.1"
    if tls is not None:
        server.socket, base = tls.wrap_socket(server.socket, server_side=True), "https://localhost"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"{base}:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
