"""Which content an address had: of a model whose version names no hash, the first that came counts on this machine."""

import hashlib
from pathlib import Path

import orjson

from runflow.worker.runtime.record import write_atomically


class Addresses:
    """Contents by address, in a folder that several processes may share."""

    def __init__(self, folder: Path) -> None:
        """Keep them in `folder`, made when it is needed."""
        self._folder = folder

    def content_of(self, url: str) -> str | None:
        """Return the SHA-256 of what came from an address, None where nothing did."""
        try:
            known = orjson.loads(self._path(url).read_bytes())
            sha256 = known["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return sha256 if isinstance(sha256, str) else None

    def note(self, url: str, sha256: str) -> None:
        """Remember what came. The address itself is not written down: it may hold a secret."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(self._path(url), orjson.dumps({"sha256": sha256}))

    def _path(self, url: str) -> Path:
        return self._folder / name_of(url)


def name_of(url: str) -> str:
    """Return a file name for an address."""
    return hashlib.sha256(url.encode()).hexdigest()
