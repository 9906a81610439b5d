"""Small files below RUNFLOW_HOME that only their owner may read: the password, the record, the lock, the log."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

import structlog

_log = structlog.get_logger(__name__)


def open_private(path: Path, flags: int) -> int:
    """Open (creating with mode 0600) without following a link in the last place; returns a descriptor.

    As root the file is given to the owner of its folder, so that a later start as that user still works.
    Raises OSError.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _give_to_owner_of_folder(descriptor, path.parent)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def write_private(path: Path, text: str) -> None:
    """Replace `path` in one step: after a crash it holds the old text or the new one, never a part. Raises OSError."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    descriptor = open_private(temporary, os.O_WRONLY | os.O_EXCL)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def read_private(path: Path) -> str | None:
    """Return the text, or None where there is no such file; takes back rights that others were given. Raises OSError.

    Only files that this package made are read here, so tightening their mode is ours to do.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, encoding="utf-8") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            _log.warning("private_file_was_open_to_others", path=str(path), next_step="mode set back to 0600")
            os.fchmod(file.fileno(), 0o600)
        return file.read()


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _give_to_owner_of_folder(descriptor: int, folder: Path) -> None:
    if os.geteuid() != 0:
        return
    owner = folder.stat()
    if os.fstat(descriptor).st_uid != owner.st_uid:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
