"""Start a command where it sees nothing but what it was given. Stands alone: it runs in the engine's own Python.

`python -I -S enter.py FD`, in a session of its own; the plan (`view.py`) comes as JSON through the descriptor. Three
processes: this one waits outside, so that its end is the command's; the first process of a process namespace builds
the view and waits inside, so that its end is the end of all that the command has started; the command.

The worker's end is theirs: the kernel sends SIGKILL when the thread that started us dies (PR_SET_PDEATHSIG), and a pipe
that only the worker holds open ends. What went wrong is the last line on standard error, after `SANDBOX: `.
"""

import json
import os
import select
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import kernel
import pack_folders
import seccomp

REFUSED_EXIT_CODE = 97
"""Of a sandbox that could not be built."""

_OLD, _NEW = "/old", "/new"
_SCRATCH_BYTES = 16 * 1024 * 1024
_ROOT_BYTES = 64 * 1024 * 1024


def main(arguments: "list[str]") -> None:
    """Build the sandbox and run the command in it. Returns never."""
    with os.fdopen(int(arguments[0])) as handed:
        plan = json.load(handed)
    guard = plan["guard"]
    os.umask(0o022)
    uid, gid = os.geteuid(), os.getegid()
    if not plan["privileged"]:
        kernel.unshare(kernel.NEW_USERS)
        kernel.map_users("self", uid, 1, groups=False)
        kernel.map_group("self", gid)
        kernel.no_more_user_namespaces()
    kernel.unshare(kernel.OWN | (0 if plan["network"] else kernel.NEW_NETWORK))
    kernel.die_with_parent()
    if os.getppid() != plan["worker"]:  # it died before the guard was set
        os._exit(1)
    first = os.fork()
    if first == 0:
        guarded(_first_process, plan)
    kernel.close_others({guard})
    wait_outside(first, guard)


def wait_outside(first: int, guard: int) -> None:
    """End with the namespace's first process, or end it when the worker is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ended = os.pidfd_open(first)
    watched = select.poll()
    watched.register(ended, select.POLLIN)
    watched.register(guard, select.POLLIN)
    while True:
        ready = dict(watched.poll())
        if guard in ready and not os.read(guard, 1024):
            os.kill(first, signal.SIGKILL)
            _wait_for_all()
            os._exit(1)
        if ended in ready:
            status = os.waitpid(first, 0)[1]
            _wait_for_all()
            kernel.end_like(status)


def _wait_for_all() -> None:
    """Wait until nothing is left: who hears of our end takes what was written as final."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass


def guarded(step, *given) -> None:  # type: ignore[no-untyped-def]
    """Run a step that does not return; what it could not do is said in one line."""
    try:
        step(*given)
    except OSError as error:
        os.write(2, f"SANDBOX: {told(error)}\n".encode())
    os._exit(REFUSED_EXIT_CODE)


def told(error: OSError) -> str:
    """Return what was refused, and why."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def _first_process(plan) -> None:  # type: ignore[no-untyped-def]
    """Build the view, start the command, and wait for it and for whatever it leaves behind."""
    kernel.die_with_parent()
    kernel.hide_memory()
    if not plan["network"]:
        kernel.loopback_up()
    _build(plan["mounts"])
    if plan["privileged"] and plan["users"] is None:
        kernel.keep_settings("/proc")
    asks, told = os.pipe()
    go, gone = os.pipe()
    command = os.fork()
    if command == 0:
        os.close(asks)
        os.close(gone)
        guarded(become, plan, told, go)
    os.close(told)
    os.close(go)
    if os.read(asks, 1):
        first_id, count = plan["users"]
        kernel.map_users(command, first_id, count, groups=True)
        os.write(gone, b"x")
    kernel.close_others(set())
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    while True:
        process, status = os.waitpid(-1, 0)
        if process == command:
            # A first process cannot be ended by a signal of its own: the status tells by which one the command was.
            os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def _build(mounts) -> None:  # type: ignore[no-untyped-def]
    kernel.keep_mounts_to_ourselves()
    os.chdir("/")
    kernel.temporary("/tmp", size_bytes=_SCRATCH_BYTES)  # noqa: S108 (a mount of our own over it)
    os.mkdir("/tmp" + _NEW)  # noqa: S108
    os.mkdir("/tmp" + _OLD)  # noqa: S108
    kernel.move_root("/tmp", "/tmp" + _OLD)  # noqa: S108
    kernel.temporary(_NEW, size_bytes=_ROOT_BYTES)
    for entry in mounts:
        _place(entry)
    kernel.unmount(_OLD)
    kernel.change_root(_NEW)
    kernel.make_read_only("/")


def _place(entry) -> None:  # type: ignore[no-untyped-def]
    """Put one thing into the view (`view.py` says which kinds there are)."""
    kind, place = entry["kind"], _NEW + entry["at"]
    os.makedirs(os.path.dirname(place), mode=0o755, exist_ok=True)
    if kind == "bind":
        source = _OLD + entry["source"]
        if entry["optional"] and not os.path.exists(source):
            return
        _make_room(place, folder=os.path.isdir(source))
        kernel.bind(source, place, writable=entry["writable"], devices=entry["devices"])
    elif kind == "memory":
        os.makedirs(place, mode=0o755, exist_ok=True)
        kernel.temporary(place, size_bytes=entry["size_bytes"], mode=entry["mode"])
        _give(place, entry["owner"])
    elif kind == "overlay":
        os.makedirs(place, mode=0o755, exist_ok=True)
        layer = _NEW + entry["layer"]
        for part in ("upper", "work"):
            os.makedirs(f"{layer}/{part}", mode=0o755)
            _give(f"{layer}/{part}", entry["owner"])
        pack_folders.make([_NEW + entry["lower"]], f"{layer}/upper", entry["owner"])
        kernel.overlay(place, lower=[_NEW + entry["lower"]], upper=f"{layer}/upper", work=f"{layer}/work")
    elif kind == "processes":
        os.makedirs(place, mode=0o755, exist_ok=True)
        kernel.processes(place)
    elif kind == "link":
        os.symlink(entry["source"], place)
    elif kind == "text":
        with open(place, "w") as file:
            file.write(entry["text"])
        os.chmod(place, 0o644)
    else:
        os.makedirs(place, mode=0o755, exist_ok=True)
        _give(place, entry["owner"])


def _give(place: str, owner: "int | None") -> None:
    if owner is not None:
        os.chown(place, owner, owner)


def _make_room(place: str, *, folder: bool) -> None:
    if os.path.lexists(place):
        return
    if folder:
        os.mkdir(place, 0o755)
    else:
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def become(plan, told: int, go: int) -> None:  # type: ignore[no-untyped-def]
    """Leave every right that the command is not to have, and become it."""
    kernel.new_keyring()
    if plan["users"] is not None:
        kernel.unshare(kernel.NEW_USERS)
        os.write(told, b"x")
        os.read(go, 1)
        kernel.become(0, 0, groups=True)
        kernel.no_more_user_namespaces()
    os.close(told)
    os.close(go)
    if plan["forks"]:
        # What it mounts for each of its children goes on top of this, and takes none of this away.
        kernel.unshare(kernel.NEW_MOUNTS)
        kernel.keep_mounts_to_ourselves()
    else:
        kernel.gain_no_more()
        if plan["privileged"]:
            kernel.become(plan["uid"], plan["uid"], groups=True)
        kernel.give_up_rights()
        kernel.keep_to_ourselves()
        seccomp.refuse_calls(counted_memory="memory_bytes" in plan["limits"])
        kernel.limit(**plan["limits"])
    kernel.die_with_parent()
    kernel.close_others(set(plan["keep"]))
    os.umask(0o027)  # inputs and outputs of runs are for no other user of the machine
    os.chdir(plan["folder"])
    os.execve(plan["command"][0], plan["command"], plan["environment"])  # noqa: S606


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as problem:
        os.write(2, f"SANDBOX: {told(problem)}\n".encode())
    os._exit(REFUSED_EXIT_CODE)
