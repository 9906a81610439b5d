"""Start an engine so that it cannot outlive the worker. Stands alone: it runs in the engine's own Python.

`python -I -S launcher.py WORKER_PID PIPE_FD UID|- FDS|- COMMAND…`, in a session of its own. The process becomes the
command, which keeps the descriptors FDS.
Two guards, because a worker may be killed at any moment:

- Linux: the kernel sends SIGKILL to the engine when the thread that started it dies (PR_SET_PDEATHSIG).
- everywhere: a forked watcher waits for the end of a pipe that only the worker holds open, and then kills the whole
  process group, including what custom nodes have started.
"""

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_MOST_DESCRIPTORS = 4096


def _die_with_parent(worker: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != worker:  # it died before the guard was set
        os._exit(1)


def _watch(pipe: int) -> None:
    """Wait for the pipe's end, then end the group. Runs in a forked child of its own."""
    group = os.getpgid(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    while os.read(pipe, 1024):
        pass
    os.killpg(group, signal.SIGKILL)
    os._exit(0)


def main(arguments: "list[str]") -> None:
    """Set the guards, drop to the user id where one is given, and become the command."""
    worker, pipe, uid = int(arguments[0]), int(arguments[1]), arguments[2]
    kept = [] if arguments[3] == "-" else [int(number) for number in arguments[3].split(",")]
    os.umask(0o027)  # inputs and outputs of runs are for no other user of the machine
    if uid != "-":
        os.setgroups([])
        os.setgid(int(uid))
        os.setuid(int(uid))
    _die_with_parent(worker)
    # uvloop leaves copies of the engine's output open, and the log would wait for the end of whoever has one.
    _close_all_but({pipe, *kept})
    if os.fork() == 0:
        _close_all_but({pipe})
        _watch(pipe)
    os.close(pipe)
    os.execv(arguments[4], arguments[4:])  # noqa: S606


def _close_all_but(kept: "set[int]") -> None:
    before = 2
    for number in [*sorted(kept), _MOST_DESCRIPTORS]:
        os.closerange(before + 1, number)
        before = number


if __name__ == "__main__":
    main(sys.argv[1:])
