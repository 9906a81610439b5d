"""The worker token: where it comes from, and that nothing this process starts can read it."""

import ctypes
import os
import sys
from pathlib import Path

TOKEN_VARIABLE = "RUNFLOW_WORKER_TOKEN"  # noqa: S105 - the name of a variable, not a token

_PREFIX = "rf_work_"
_PR_SET_DUMPABLE = 4


class TokenMissing(Exception):
    """There is no usable worker token; the message says how to get one."""


def read_token(file: Path | None) -> str:
    """Return the worker token from `file`, else from RUNFLOW_WORKER_TOKEN; take the variable out of the environment.

    Raises `TokenMissing`, whose message never holds what was read.
    """
    from_environment = os.environ.pop(TOKEN_VARIABLE, None)
    if file is not None:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not a text"
            raise TokenMissing(f"The token file {file} cannot be read: {why}.") from None
        where = f"The token file {file}"
    elif from_environment is not None:
        token, where = from_environment.strip(), f"The variable {TOKEN_VARIABLE}"
    else:
        raise TokenMissing(
            f"A worker needs a token: give --token-file FILE or set {TOKEN_VARIABLE}. "
            "`runflow keys create-worker` on the server makes one."
        )
    if not token.startswith(_PREFIX) or not token.isascii() or not token.isprintable() or " " in token:
        raise TokenMissing(f"{where} does not hold a worker token: those begin with {_PREFIX}.")
    return token


def hide_memory() -> None:
    """Keep other processes of this user, such as an engine's custom nodes, from reading our memory and environment.

    Linux only (prctl PR_SET_DUMPABLE): `/proc/PID/environ`, `/proc/PID/mem` and ptrace are then for root alone.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
