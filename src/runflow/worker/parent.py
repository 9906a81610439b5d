"""Stop when the parent process dies, however it dies (`--die-with-parent`)."""

import ctypes
import os
import signal
import stat
import sys

_PR_SET_PDEATHSIG = 1


def hear_of_parents_end() -> int | None:
    """Have SIGTERM sent to this process when its parent is gone; return a descriptor that ends with the parent, if any.

    Linux: the kernel sends SIGTERM (prctl PR_SET_PDEATHSIG), which is handled like any other. It does so when the
    *thread* that started this process ends, so the parent must start it from a thread that lives as long as itself.
    Everywhere, where standard input is a pipe: its end is the parent's end, because nobody else holds the other side.
    This also covers a parent that died before the kernel was told; other systems than Linux have nothing else.

    Raises OSError where neither way is there.
    """
    parent = os.getppid()
    is_pipe = _standard_input_is_pipe()
    if sys.platform == "linux":
        end_with_parent(signal.SIGTERM, parent)
    elif not is_pipe:
        raise OSError("--die-with-parent needs standard input to be a pipe from the parent on this system.")
    return 0 if is_pipe else None


def end_with_parent(number: int, parent: int) -> None:
    """Have the kernel send this process a signal when `parent` is gone, also if it is by now. Linux only.

    Raises OSError.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl(PR_SET_PDEATHSIG): {os.strerror(error)}")
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def _standard_input_is_pipe() -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(0).st_mode)
    except OSError:
        return False
