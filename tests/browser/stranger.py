"""A server that is no Runflow server, for tests of what is sent to whom."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.http_server import QuietHandler, serving


@dataclass
class Stranger:
    """A server that answers 200 to everything and keeps what it was asked: path and `Authorization`."""

    url: str
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@contextlib.contextmanager
def answering(port: int = 0) -> Iterator[Stranger]:
    """A stranger that answers, at this port or any."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            made.asked.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps({"hello": "I am no Runflow server"}).encode())

    with serving(Handler, port) as base:
        made = Stranger(base)
        yield made
