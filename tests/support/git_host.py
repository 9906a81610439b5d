"""A host of git repositories on loopback: plain files over HTTP, which git calls dumb."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.support.git_repository import git
from tests.support.http_server import QuietHandler, serving


@contextmanager
def hosting_repositories(folder: Path) -> Iterator[str]:
    """Serve the repositories below a folder until the end of the block; gives the host's address.

    What is committed has to be published (`publish`) before it can be seen there.
    """

    class Files(QuietHandler, SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            SimpleHTTPRequestHandler.__init__(self, *arguments, directory=str(folder))

        def translate_path(self, path: str) -> str:
            """Hosts have repositories without a tree, by addresses without `.git`."""
            name, _, rest = path.lstrip("/").partition("/")
            return super().translate_path(f"/{name}/.git/{rest}")

    with serving(Files) as url:
        yield url


def publish(host: str, repository: Path) -> str:
    """Let a host's callers see what was committed to a repository directly below its folder; return the address."""
    git(repository, "update-server-info")
    return f"{host}/{repository.name}"
