"""Stop when the parent process dies, however it dies (`--die-with-parent`)."""

import asyncio
import ctypes
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def die_with_parent(stop: Callable[[], None]) -> None:
    """Have `stop` called in the running event loop, or SIGTERM sent to this process, when the parent is gone.

    Linux: the kernel sends SIGTERM (prctl PR_SET_PDEATHSIG), which the worker handles like any other. It does so when
    the *thread* that started this process ends, so the parent must start it from a thread that lives as long as itself.
    Everywhere, where standard input is a pipe: its end is the parent's end, because nobody else holds the other side.
    This also covers a parent that died before the kernel was told; other systems than Linux have nothing else.

    Raises OSError where neither way is there.
    """
    parent = os.getppid()
    is_pipe = _standard_input_is_pipe()
    if is_pipe:
        _watch_standard_input(stop)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"prctl(PR_SET_PDEATHSIG): {os.strerror(error)}")
        if os.getppid() != parent:
            stop()
    elif not is_pipe:
        raise OSError("--die-with-parent needs standard input to be a pipe from the parent on this system.")


def _standard_input_is_pipe() -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(0).st_mode)
    except OSError:
        return False


def _watch_standard_input(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()

    def watch() -> None:
        while os.read(0, 4096):
            pass
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
