"""Start a command that can open only what it was given, where no namespace can be made. Stands alone, in the engine's
own Python.

`python -I -S confine.py FD`, in a session of its own; the plan (`rungs.py`) comes as JSON through the descriptor. Three
processes: this one waits outside, so that its end is the command's; a keeper, to which everything comes back that the
command has started and left alone; the command, under Landlock's rules, which it lays upon itself.

There is no process namespace whose end would be everybody's. So the keeper ends all that the command has started, and
what these started meanwhile, until none is left: by one call that reaches every process of its own domain of signals
(Linux 6.12) or of a user id of its own, else one by one. It does so when the command ends, and when this process does
or asks for it; and where the keeper is gone, this one does it.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import enter
import kernel
import landlock
import seccomp

_OWN = "/proc/self/"
_ENDING_SECONDS = 10.0
_PAUSE_SECONDS = 0.005
_COUNT_MILLISECONDS = 200
_TOO_MANY = -1
"""No status of a process: those are not negative."""
_NOBODYS_USER = 65_250
"""The first user id above those of all workers' engines (`rungs.py`)."""


def main(arguments: "list[str]") -> None:
    """Confine the command and run it. Returns never."""
    with os.fdopen(int(arguments[0])) as handed:
        plan = json.load(handed)
    guard = plan["guard"]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if os.getppid() != plan["worker"]:  # it died before we began
        os._exit(1)
    kernel.take_orphans()
    kernel.hide_memory()
    waits, holds = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        os.close(holds)
        enter.guarded(_keep, plan, waits)
    os.close(waits)
    kernel.close_others({guard, holds})
    _wait_outside(keeper, guard, holds)


def _wait_outside(keeper: int, guard: int, holds: int) -> None:
    """End with the keeper; have it end everything when the worker is gone, or does not want it any more."""
    ended = os.pidfd_open(keeper)
    watched = select.poll()
    watched.register(ended, select.POLLIN)
    watched.register(guard, select.POLLIN)
    while True:
        ready = dict(watched.poll())
        if guard in ready and not os.read(guard, 1024):
            os.close(holds)
            if not select.select([ended], [], [], _ENDING_SECONDS)[0]:
                os.kill(keeper, signal.SIGKILL)
            break
        if ended in ready:
            break
    _, status = os.waitpid(keeper, 0)
    _end_all(reaches_all=False, user=None)
    kernel.end_like(status)


def _keep(plan, waits: int) -> None:  # type: ignore[no-untyped-def]
    """Start the command, wait for it, and end whatever it leaves behind."""
    outside = os.getppid()
    os.setsid()  # who ends the group of the process outside does not end this one
    kernel.take_orphans()
    kernel.gain_nothing()
    # Seen and not believed: one call below ends every process that we can reach.
    reaches_all = landlock.keep_signals() and not _reaches(outside)
    woken, wake = os.pipe()
    for descriptor in (woken, wake):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    begin, begun = os.pipe()
    command = os.fork()
    if command == 0:
        os.close(begun)
        enter.guarded(_become, plan, begin)
    os.close(begin)
    # /proc makes its entries anew when memory is short, and then they are not those that have the rule.
    own = f"/proc/{command}/"
    pinned = [landlock.opened(rule["at"].replace(_OWN, own)) for rule in plan["rules"] if rule["at"][:6] == "/proc/"]
    said = os.dup(2)
    nowhere = os.open(os.devnull, os.O_RDWR)
    before = _tasks_of_machine()
    os.write(begun, b"x")  # from here on nothing that fails may leave it to itself
    kernel.close_others({waits, woken, wake, said, nowhere, *(one for one in pinned if one is not None)})
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    # The kernel bounds the processes of every user but root.
    most = plan["limits"]["processes_at_most"] if plan["uid"] is None and os.geteuid() == 0 else None
    status = _wait(command, waits, woken, before, most)
    if status == _TOO_MANY:
        with contextlib.suppress(OSError):  # its log's disk may be full
            os.write(said, f"The engine started more than {most} processes and threads, and was ended.\n".encode())
        status = None
    left = _end_all(reaches_all=reaches_all, user=plan["uid"] if plan["alone"] else None)
    kernel.end_like(left.get(command, 0) if status is None else status)


def _reaches(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:
        return False
    return True


def _wait(command: int, waits: int, woken: int, before: int, most: "int | None") -> "int | None":
    """Return the command's status, None where it is to be ended, and `_TOO_MANY` where it started more than `most`.

    `before`: the tasks of the machine without it. What came back to us is taken off meanwhile.
    """
    watched = select.poll()
    watched.register(waits, select.POLLIN)
    watched.register(woken, select.POLLIN)
    while True:
        try:
            ready = dict(watched.poll(None if most is None else _COUNT_MILLISECONDS))
        except (OSError, MemoryError):
            time.sleep(_PAUSE_SECONDS)
            continue
        if most is not None and _are_too_many(before, most):
            return _TOO_MANY
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
            ended = _reaped()
            if ended is None or command in ended:
                return (ended or {}).get(command, 0)
        if waits in ready:
            return None


def _are_too_many(before: int, most: int) -> bool:
    with contextlib.suppress(OSError, MemoryError):  # what it takes to look may be used up, by the command itself
        return _tasks_of_machine() - before > most // 2 and _tasks(_descendants()) > most
    return False


def _reaped() -> "dict[int, int] | None":
    """Take off what has ended, and return the statuses; None where there is nothing left to end."""
    found: dict[int, int] = {}
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found or None
        if process == 0:
            return found
        found[process] = status


def _end_all(*, reaches_all: bool, user: "int | None") -> "dict[int, int]":
    """End everything below us until nothing is left; return the statuses.

    `reaches_all`: the kernel lets us signal nothing else. `user`: whom nobody else's process belongs to.
    """
    found: dict[int, int] = {}
    while True:
        if reaches_all:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(-1, signal.SIGKILL)
        elif user is not None:
            # Here and below: what it takes may be used up, by the engine itself, and it has to be ended all the same.
            with contextlib.suppress(OSError, MemoryError):
                _end_user(user)
        with contextlib.suppress(OSError, MemoryError):
            _end_one_by_one()
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return found
            if process == 0:
                break
            found[process] = status
        time.sleep(_PAUSE_SECONDS)


def _end_one_by_one() -> None:
    """End each process below us in the moment in which it is found, and look for its own afterwards.

    One that forks and ends all the time is elsewhere by the end of a look at the whole machine.
    """
    own = os.getpid()
    if not os.path.exists(f"/proc/{own}/task/{own}/children"):  # a kernel without CONFIG_PROC_CHILDREN
        for process in _descendants():
            _end(process)
        return
    left = [own]
    while left:
        for process in _children(left.pop()):
            _end(process)
            left.append(process)


def _end(process: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(process, signal.SIGKILL)


def _children(process: int) -> "list[int]":
    found: list[int] = []
    gone = contextlib.suppress(FileNotFoundError, ProcessLookupError)
    with gone:
        for task in os.listdir(f"/proc/{process}/task"):
            with gone, open(f"/proc/{process}/task/{task}/children") as file:
                found += map(int, file.read().split())
    return found


def _end_user(user: int) -> None:
    """End every process of a user, by one call that none can outrun, from a process that they may not signal."""
    process = os.fork()
    if process == 0:
        try:
            keeper = os.getppid()
            _become_like(user)
            if not _reaches(keeper):
                os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    _, status = os.waitpid(process, os.WUNTRACED)
    if os.WIFSTOPPED(status):  # by one of them: the next round tries again
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def _become_like(user: int) -> None:
    """Have a user's rights without being them: signals are for a process's real and saved user, from its effective."""
    try:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(_NOBODYS_USER, user, _NOBODYS_USER)
    except OSError:  # a container may have fewer users
        kernel.become(user, user, groups=True)


def _descendants() -> "list[int]":
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError), open(f"/proc/{name}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    left = [os.getpid()]
    while left:
        below = children.pop(left.pop(), [])
        found += below
        left += below
    return found


def _become(plan, begin: int) -> None:  # type: ignore[no-untyped-def]
    """Leave every right that the command is not to have, and become it."""
    if not os.read(begin, 1):  # the keeper could not begin
        os._exit(enter.REFUSED_EXIT_CODE)
    signal.set_wakeup_fd(-1)
    os.setsid()  # within a session, whoever is in it may be continued
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    uid = plan["uid"]
    limits = plan["limits"]
    if not plan["alone"]:
        # The kernel counts those of its user, whoever started them.
        others = _tasks_of_user(os.geteuid() if uid is None else uid)
        limits = {**limits, "processes_at_most": limits["processes_at_most"] + others}
    kernel.new_keyring()
    kernel.gain_no_more()
    opened = ((landlock.opened(rule["at"]), rule["rights"]) for rule in plan["rules"])
    made = landlock.ruleset([(one, rights) for one, rights in opened if one is not None], network=plan["network"])
    if uid is not None:
        kernel.become(uid, uid, groups=True)
    elif plan["privileged"]:
        os.setgroups([])
    kernel.give_up_rights()
    kernel.die_with_parent()
    landlock.restrict(made)
    seccomp.refuse_what_landlock_lets_through(
        network=plan["network"],
        same_user=not plan["alone"],
        truncating=landlock.version() < landlock.TRUNCATING_SINCE,
        counted_memory="memory_bytes" in limits,
    )
    kernel.limit(**limits)
    kernel.close_others(set(plan["keep"]))
    os.umask(0o027)  # inputs and outputs of runs are for no other user of the machine
    os.chdir(plan["folder"])
    os.execve(plan["command"][0], plan["command"], plan["environment"])  # noqa: S606


def _tasks_of_user(uid: int) -> int:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{name}").st_uid == uid:
                    found.append(int(name))
    return _tasks(found)


def _tasks(processes: "list[int]") -> int:
    found = 0
    for process in processes:
        with contextlib.suppress(OSError):
            found += len(os.listdir(f"/proc/{process}/task"))
    return found


def _tasks_of_machine() -> int:
    with open("/proc/loadavg") as file:
        return int(file.read().split()[3].partition("/")[2])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as problem:
        os.write(2, f"SANDBOX: {enter.told(problem)}\n".encode())
    os._exit(enter.REFUSED_EXIT_CODE)
