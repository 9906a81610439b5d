"""A host of models on loopback."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.http_server import QuietHandler, serving


@contextmanager
def hosting(files: dict[str, bytes]) -> Iterator[str]:
    """A host of models, by path."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            content = files[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with serving(Handler) as url:
        yield url
