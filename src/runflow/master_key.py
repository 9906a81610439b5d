"""The installation's master key: one secret from which every other internal key is derived."""

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

MINIMUM_LENGTH = 32


class MasterKeyError(Exception):
    """The master key cannot be read or is too short."""


class MasterKey:
    """Derives independent keys by purpose; its own value never leaves this object."""

    def __init__(self, value: str) -> None:
        """Take the key's text; raises `MasterKeyError` under 32 characters."""
        if len(value) < MINIMUM_LENGTH:
            raise MasterKeyError(f"RUNFLOW_SECRET_KEY has {len(value)} characters; use at least {MINIMUM_LENGTH}.")
        self._value = value.encode()

    def __repr__(self) -> str:
        return "MasterKey(…)"

    def derive(self, purpose: str) -> bytes:
        """Return the 32-byte key for one purpose, e.g. `"urls"`; no key tells anything about another."""
        return hmac.new(self._value, b"runflow/" + purpose.encode(), hashlib.sha256).digest()


def load_or_create(home: Path, configured: str | None) -> MasterKey:
    """Return the configured key, else the one in `home/secret.key`, which is made on first use (mode 0600).

    Two processes that start together end up with the same key. Raises `MasterKeyError` when the file cannot be read.
    """
    if configured:
        return MasterKey(configured)
    path = home / "secret.key"
    if not path.exists():
        fresh = path.with_name(f".secret.key.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # A hard link fails where another process was first: then its key is the one.
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
    try:
        return MasterKey(path.read_text().strip())
    except OSError as error:
        raise MasterKeyError(
            f"Cannot read the master key {path}: {error.strerror}. Run as the user that owns it."
        ) from error
