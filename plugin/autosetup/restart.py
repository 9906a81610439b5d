"""Restarting ComfyUI with the arguments that it was started with."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Sequence

from .. import process_secret

PROCESS = secrets.token_hex(8)
"""Names this process: the page waits for another one."""

_ANSWER_FIRST_SECONDS = 0.5


def command(executable: str = sys.executable, arguments: Sequence[str] = tuple(sys.orig_argv)) -> list[str]:
    """The command that starts this program again, without opening another page in the browser."""
    found = [executable, *arguments[1:]]
    return found if "--disable-auto-launch" in found else [*found, "--disable-auto-launch"]


def restart_soon(
    replace: Callable[[str, list[str]], object] = os.execv,
    spawn: Callable[[list[str]], object] = subprocess.Popen,
    leave: Callable[[int], object] = os._exit,
    *,
    windows: bool = sys.platform == "win32",
) -> None:
    """Restart after the answer to the current request is out: this process becomes the new one, but on Windows, where
    a process cannot, it starts the new one and ends.
    """
    asyncio.get_running_loop().call_later(_ANSWER_FIRST_SECONDS, _restart, replace, spawn, leave, windows)


def _restart(
    replace: Callable[[str, list[str]], object],
    spawn: Callable[[list[str]], object],
    leave: Callable[[int], object],
    windows: bool,
) -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    again = command()
    process_secret.hand_over()
    if windows:
        spawn(again)
        leave(0)
    else:
        replace(again[0], again)
