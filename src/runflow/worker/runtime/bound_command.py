"""Become a command that ends with the process that started it. Stands alone: `python -I -S bound_command.py PID WORD…`.

A worker may be killed at any moment. What it had begun would go on alone, and write into the folder in which the next
one has begun the same work anew.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: "list[str]") -> None:
    """Have the kernel send SIGKILL when the thread that started us is gone, and become the command. Linux only."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was told
        os._exit(1)
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
