"""A server on loopback that answers what a test has written down, one answer per request, and keeps the requests."""

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.http_server import QuietHandler, serving

CUT = "cut"
"""An answer that never comes: the connection is reset."""


@dataclass(frozen=True)
class Reply:
    """One answer; `cut_off`: the connection is reset behind the body."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_off: bool = False


@dataclass
class Script:
    """Answers to come, and the requests that came."""

    replies: list[Reply | str] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def header(self, name: str) -> list[str | None]:
        """Return this header of each request."""
        return [headers.get(name.lower()) for _, _, headers, _ in self.requests]

    @property
    def lines(self) -> list[str]:
        """Method and address of each request."""
        return [f"{method} {path}" for method, path, _, _ in self.requests]


@contextmanager
def scripted(*replies: Reply | str) -> Iterator[Script]:
    """Serve these answers."""
    script = Script(list(replies))

    class Handler(QuietHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.requests.append((self.command, self.path, headers, body))
            reply = script.replies.pop(0)
            if isinstance(reply, str):
                return _reset(self)
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if not reply.cut_off:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = True
            return _reset(self) if reply.cut_off else None

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    with serving(Handler) as url:
        script.url = url
        yield script


def _reset(handler: BaseHTTPRequestHandler) -> None:
    """End the connection as a killed process does."""
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()
