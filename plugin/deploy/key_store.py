"""The API keys of Settings, one for each user of this ComfyUI, in a file that no page can read.

A page can store a key, forget it, and learn its last four characters. Whoever may read this user's files on this
machine, other custom nodes included, can read it.
"""

from __future__ import annotations

import json
from pathlib import Path

from ..private_file import write_private

_SHOWN = 4
_LONG_ENOUGH = 12


class KeyStore:
    """Keys by user id, in one file of mode 0600."""

    def __init__(self, file: Path) -> None:
        """Keep them in `file`, which need not be there."""
        self._file = file

    def get(self, user: str) -> str | None:
        """The key of a user, or None."""
        return self._read().get(user)

    def put(self, user: str, key: str) -> None:
        """Store a key instead of the one before. Raises OSError."""
        self._write({**self._read(), user: key})

    def forget(self, user: str) -> None:
        """Remove a user's key; nothing happens where there is none. Raises OSError."""
        keys = self._read()
        if keys.pop(user, None) is not None:
            self._write(keys)

    def hint(self, user: str) -> str | None:
        """The last four characters of a user's key, by which a person knows it again; None without a key."""
        key = self.get(user)
        if key is None:
            return None
        return key[-_SHOWN:] if len(key) >= _LONG_ENOUGH else ""

    def _read(self) -> dict[str, str]:
        try:
            keys = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(keys, dict):
            return {}
        return {user: key for user, key in keys.items() if isinstance(key, str)}

    def _write(self, keys: dict[str, str]) -> None:
        write_private(self._file, json.dumps(keys).encode())
