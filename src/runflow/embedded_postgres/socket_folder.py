"""The folder of the Unix socket: short enough for the kernel, ours alone, and made anew when it vanished."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import structlog

from runflow.embedded_postgres.errors import ANOTHER_DATABASE, HomeUnusable
from runflow.embedded_postgres.location import Location
from runflow.embedded_postgres.user import DatabaseUser

PORT = 5432
"""Only a part of the socket's file name: each home has a folder of its own, and nothing listens on TCP."""

_LONGEST = 107 if sys.platform == "linux" else 103  # bytes of sockaddr_un.sun_path without the final zero
_log = structlog.get_logger(__name__)


def socket_path(folder: Path) -> Path:
    """Return the path of the socket in its folder."""
    return folder / f".s.PGSQL.{PORT}"


def prepare(location: Location, user: DatabaseUser) -> Path:
    """Return a folder of mode 0700 that belongs to `user` and in which sockets work; the same one on every start.

    Beside the data comes first: unlike /run and /tmp, nobody empties that at logout or by age. Raises HomeUnusable.
    """
    refused = []
    for folder in _candidates(location):
        problem = _problem(folder, user)
        if problem is None:
            return folder
        _log.debug("socket_folder_refused", folder=str(folder), cause=problem)
        refused.append(f"{folder}: {problem}")
    raise HomeUnusable(
        f"No folder for PostgreSQL's socket could be made ({'; '.join(refused)}). "
        f"Choose a RUNFLOW_HOME with a short path on a local disk, {ANOTHER_DATABASE}."
    )


def clear(folder: Path) -> None:
    """Remove the socket and lock file of a server that is gone. Call it when no server of ours runs any more.

    PostgreSQL would ask whether the process in the lock file lives, and a killed one does until its parent has noticed.
    """
    socket = socket_path(folder)
    for stale in (socket, socket.with_name(socket.name + ".lock")):
        stale.unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Remove the socket folder of a server that has ended; harmless when it is gone or not empty."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def _candidates(location: Location) -> Iterator[Path]:
    yield location.folder / "postgres.socket"
    if os.geteuid() == 0:
        yield Path("/run") / location.cluster_name
    elif runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / location.cluster_name
    yield Path("/tmp") / location.cluster_name  # noqa: S108 - checked below to be ours and closed to others
    # Somebody else sits on that name: take one that nobody could foresee.
    with contextlib.suppress(OSError):
        yield Path(tempfile.mkdtemp(prefix="runflow-", dir="/tmp"))


def _problem(folder: Path, user: DatabaseUser) -> str | None:
    """Make the folder unless it is there; return why it cannot be used, or None."""
    length = len(os.fsencode(socket_path(folder)))
    if length > _LONGEST:
        return f"the socket's path would be {length} bytes long, and the system allows {_LONGEST}"
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (user.uid, os.geteuid()):
            return "it is not a folder of ours"
        if stat.S_IMODE(found.st_mode) != 0o700:
            return f"it has mode {stat.S_IMODE(found.st_mode):04o} instead of 0700"
        user.own(folder)
        if user.switch and not user.can_enter(folder):
            return f"the user {user.name} cannot enter it"
        _try_socket(folder)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _try_socket(folder: Path) -> None:
    """Bind a socket once: some network and shared file systems cannot. Raises OSError."""
    path = folder / ".probe"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.bind(str(path))
    path.unlink()
