"""One home belongs to one server: a lock that the kernel frees when its holder dies, however it dies."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

LOCK_FILE = "server.lock"
"""In the home folder. It stays: removing it would let two processes hold the lock on two files of one name."""


class HomeServed(Exception):
    """Another `runflow up` serves this home; the message names its process and address."""


@contextlib.contextmanager
def serving_home(home: Path, url: str) -> Iterator[None]:
    """Hold a home, for the server at `url`. Raises `HomeServed`, and OSError where the file cannot be opened."""
    home.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, _, address = os.pread(descriptor, 4096, 0).decode(errors="replace").strip().partition(" ")
            raise HomeServed(
                f"The home {home} is served by process {pid or 'unknown'}{f' at {address}' if address else ''}. Use "
                "that one, or stop it first; for a second server set another RUNFLOW_HOME."
            ) from None
        except OSError as error:  # a file system without locks
            raise OSError(error.errno, error.strerror, str(home / LOCK_FILE)) from error
        # For messages only: a full disk must not keep a server from starting.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {url}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
