"""Starting a program of PostgreSQL: under the database user, in a clean environment, unable to outlive us (Linux)."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import IO

from runflow.embedded_postgres.errors import BinariesUnavailable
from runflow.embedded_postgres.user import DatabaseUser

_PR_SET_PDEATHSIG = 1
_KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")


def spawn(
    command: Sequence[str],
    user: DatabaseUser,
    *,
    when_we_die: signal.Signals,
    stdin: int | IO[str] = subprocess.DEVNULL,
    stdout: int,
    stderr: int,
) -> subprocess.Popen[str]:
    """Start a direct child in a session of its own.

    On Linux the kernel sends it `when_we_die` when the *thread* that called this ends, so call it from one that stays.
    Raises BinariesUnavailable, DatabaseUserUnavailable.
    """
    with warnings.catch_warnings():
        # Python 3.12+ warns about threads and preexec_fn in general; ours makes two system calls and takes no lock.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return subprocess.Popen(
                command,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                text=True,
                env=_environment(),
                start_new_session=True,
                preexec_fn=_die_with_parent(when_we_die),
                **user.process_options(),
            )
        except OSError as error:
            if user.switch and error.filename != command[0]:
                raise user.not_allowed(error) from error
            raise BinariesUnavailable(
                f"{command[0]} cannot be started: {error.strerror}. Reinstall Runflow in a folder that every user "
                "can enter and that is not mounted noexec."
            ) from error


def _environment() -> dict[str, str]:
    """Return a clean environment: no PG* variable of the caller, no secret of ours, messages in English."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _die_with_parent(when_we_die: signal.Signals) -> Callable[[], None] | None:
    """Return what the child does between fork (and the change of user, which would undo it) and exec."""
    if sys.platform != "linux":
        return None
    # Resolved before the fork: looking up a symbol afterwards could wait for a lock of another thread.
    prctl = ctypes.CDLL(None).prctl
    us = os.getpid()

    def in_child() -> None:
        prctl(_PR_SET_PDEATHSIG, int(when_we_die), 0, 0, 0)
        if os.getppid() != us:  # we died before the line above
            os._exit(1)

    return in_child
