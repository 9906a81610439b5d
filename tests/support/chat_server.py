"""A real HTTP server that speaks the OpenAI chat protocol; the test decides what the model says."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.http_server import QuietHandler, serving

Answer = Callable[[dict[str, Any]], Any]


@dataclass
class ChatServer:
    """`answers` are used one after the other, the last one again and again.

    An answer gives the text of the message, or (status, body) with headers if need be, or an exception to break the
    connection with.
    """

    url: str
    answers: list[Answer]
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


def check_of(request: dict[str, Any]) -> str:
    """Return the word that the instructions want repeated."""
    found = re.search(r'Set "check" to (\w+)\.', request["messages"][0]["content"])
    assert found is not None
    return found[1]


def verdict(request: dict[str, Any], **changes: Any) -> str:
    """A verdict as a good model gives it."""
    issue = {"category": "anatomy", "subcategory": "extra_finger", "detail": "The left hand has six fingers."}
    content = {
        "check": check_of(request),
        "passed": False,
        "score": 0.3,
        "confidence": 0.9,
        "reasoning": "A hand is wrong.",
        "strengths": ["good light"],
        "issues": [{**issue, "severity": "high"}],
    }
    return json.dumps({**content, **changes})


@contextmanager
def chat_server(*answers: Answer) -> Iterator[ChatServer]:
    """Serve until the end of the block."""

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.requests.append(request)
            found.headers.append({name.lower(): value for name, value in self.headers.items()})
            answer = found.answers[min(len(found.requests), len(found.answers)) - 1](request)
            if isinstance(answer, Exception):
                self.close_connection = True
                self.connection.close()
                return
            status, body, *more = answer if isinstance(answer, tuple) else (200, _completion(answer))
            headers: dict[str, str] = more[0] if more else {}
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            for name, value in headers.items():
                self.send_header(name, value)
            if status == 302:
                self.send_header("Location", found.url)
            self.end_headers()
            self.wfile.write(raw)

    with serving(Handler) as base:
        found = ChatServer(f"{base}/v1", list(answers))
        yield found


def _completion(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
