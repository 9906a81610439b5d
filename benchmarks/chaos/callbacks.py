"""The target of callbacks: it is never hit, and notes which message came for which order."""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Told:
    """One message that came: to whose address, about which run, under which id."""

    ref: str
    run_id: str
    message_id: str
    status: str


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


class Callbacks:
    """Listens on a free port from the start to `close`; `url(ref)` is an address of that order's own."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                ref = self.path.rsplit("/", 1)[-1]
                told.append(Told(ref, body["run_id"], self.headers["webhook-id"], body["status"]))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True, name="chaos-callbacks")
        self._thread.start()

    def url(self, ref: str) -> str:
        """Return the address for the callbacks of one order."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{ref}"

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
