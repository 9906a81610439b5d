"""The settings of an editor's connection, as tests set them."""

import contextlib
from collections.abc import Iterator

import httpx

from tests.support.editor import Editor


@contextlib.contextmanager
def connection(editor: Editor, url: str, key: str | None) -> Iterator[None]:
    """Name a server and a key in an editor's settings; afterwards there is neither."""
    with httpx.Client(base_url=editor.url, timeout=30) as client:
        client.post("/settings/Runflow.ApiUrl", json=url).raise_for_status()
        if key is not None:
            client.put("/runflow/connection/key", json={"api_key": key}).raise_for_status()
        try:
            yield
        finally:
            client.delete("/runflow/connection/key").raise_for_status()
            client.post("/settings/Runflow.ApiUrl", json="").raise_for_status()
