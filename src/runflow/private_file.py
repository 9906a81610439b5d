"""The one way in which the platform writes a secret into a file: for its owner alone, whole, and on the disk.

The plugin and the embedded PostgreSQL import nothing of the platform, and have their own of the same kind.
"""

import contextlib
import os
import secrets
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Replace a file (mode 0600): after a crash or power cut it holds the old text or the new one. Raises OSError."""
    fresh = _fresh(path, text)
    try:
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_private(path: Path, text: str) -> bool:
    """Make a file (mode 0600) unless there is one; tell whether it was made. Raises OSError."""
    fresh = _fresh(path, text)
    try:
        # A hard link fails where another process was first.
        os.link(fresh, path)
    except FileExistsError:
        return False
    finally:
        fresh.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def sync_folder(folder: Path) -> None:
    """Bring what was renamed or made in a folder to the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fresh(path: Path, text: str) -> Path:
    """Write a new file beside `path`, and bring it to the disk."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    return fresh
