"""Attacks on other processes: seeing, stopping, reading, outliving them."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

from . import kernel
from .loot import Given, Loot, apart, attack, engine_folders

_DAEMON = "import sys, time, signal; signal.signal(15, 1); time.sleep(600)"


@attack("other-processes", "`/proc` for any process that is not the engine's own")
def other_processes(loot: Loot, given: Given) -> None:
    """See processes of the installation, or any but those below this one."""
    # Inside walls of its own, whatever is there may have the home in its command line: its own folders are below it.
    homes = [] if apart("pid", given) else [str(given["home"]).encode()]
    markers = [*homes, str(given["decoy_word"]).encode()]

    def seen() -> list[str]:
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                line = Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            # The engine's own command line has its base folder in it.
            if b"main.py" not in line and any(marker in line for marker in markers):
                found.append(f"{name}: {line[:60]!r}")
        return found[:5]

    loot.attempt("command lines", seen)
    loot.attempt("more than its own", lambda: "" if apart("pid", given) else f"{_count()} processes")
    for name in ("worker_pid", "server_pid", "decoy_pid"):
        loot.attempt(f"/proc/{name}", _same_process, given, name)


@attack("ptrace", "attaching as a debugger to worker, server, another process of its user, and to its parent")
def ptrace(loot: Loot, given: Given) -> None:
    """Attach to processes that are not its own."""
    for name in ("worker_pid", "server_pid", "decoy_pid"):
        loot.attempt(name, _seize, given, name)
    loot.attempt("parent", _seize_parent, given)


@attack("signals", "signals to worker, server, another process of its user, its parent and the fork server")
def signals(loot: Loot, given: Given) -> None:
    """Ask whether it may send signals, by the signal 0, which does nothing."""
    for name in ("worker_pid", "server_pid", "decoy_pid"):
        pid = given[name]
        if apart("pid", given):
            loot.attempt(name, _same_process, given, name)
            continue
        loot.attempt(name, os.kill, pid, 0)
        loot.attempt(f"group of {name}", _signal_group, pid)
    if not apart("pid", given):  # else its parent, if it sees one, is as shut in as it is
        loot.attempt("parent", os.kill, os.getppid(), 0)


@attack("kill-everything", "SIGKILL to every process that it can reach, all at once")
def kill_everything(loot: Loot, given: Given) -> None:
    """Send the signal 9 to all, if that hurts nobody but this engine's own processes.

    The loot is whatever of the installation can be reached; the test sees that engine, worker and server go on.
    """
    reach = _reachable(given)
    if reach:
        loot.got["kill"] = f"can signal {', '.join(reach)}"
        return
    if not apart("pid", given):
        loot.refused["kill"] = "each process of the installation is out of reach, so others are not tried"
        return
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        os.kill(-1, signal.SIGKILL)
    except OSError as error:
        loot.refused["kill"] = str(error)
    else:
        loot.refused["kill"] = f"only its own: {sleeper.wait(30)}"


@attack("slow-down-others", "priority, processor affinity and limits of worker and server")
def slow_down_others(loot: Loot, given: Given) -> None:
    """Change how other processes run."""
    for name in ("worker_pid", "server_pid"):
        pid = given[name]
        if not _is_there(given, name):
            loot.refused[name] = "not there"
            continue
        loot.attempt(f"nice {name}", os.setpriority, os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid))
        affinity = os.sched_getaffinity(pid)
        loot.attempt(f"affinity {name}", os.sched_setaffinity, pid, affinity)
        loot.attempt(f"limits {name}", _limits, pid)


@attack("daemon", "a child that forks twice, takes a session of its own and ignores SIGTERM, to outlive the engine")
def daemon(loot: Loot, given: Given) -> None:
    """Leave a process behind. Whether it outlives the engine is seen from outside, by its word."""
    first = os.fork()
    if first == 0:
        os.setsid()
        if os.fork() > 0:
            os._exit(0)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nowhere, number)
        os.closerange(3, 4096)
        os.execv(sys.executable, [sys.executable, "-S", "-c", _DAEMON, given["word"]])
    os.waitpid(first, 0)
    loot.refused["daemon"] = "started"


@attack(
    "other-engine-sockets", "the sockets by which a worker reaches its engines, in the file system and abstract ones"
)
def other_engine_sockets(loot: Loot, given: Given) -> None:
    """Connect to any socket that is not its own."""
    found = [path for place in (given["home"], *engine_folders().values()) for path in _sockets(str(place), 6)]
    found += [path for place in ("/run", "/tmp") for path in _sockets(place, 2) if str(given["home"]) in path]
    for path in dict.fromkeys(found[:20]):
        loot.attempt(path, _connect, path)
    for name in _abstract():
        if str(given["decoy_word"]) in name:
            loot.attempt(f"abstract {name}", _connect, "\0" + name[1:])
    loot.attempt("the decoy's abstract socket", _connect, "\0" + str(given["decoy_word"]))
    loot.refused["search"] = f"{len(found)} sockets seen"


@attack("take-the-port", "listening where the engine, or the next one, is reached")
def take_the_port(loot: Loot, given: Given) -> None:
    """Take the address by which a worker reaches its engine, so that the next one's requests come here."""

    def listen(port: int) -> str:
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            taken.bind(("127.0.0.1", port))
            taken.listen()
        return f"listens on {port}"

    if apart("net", given):
        loot.refused["port"] = "its network is its own"
        return
    loot.attempt("the server's port", listen, given["server_port"])
    arguments = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    if b"--port" in arguments:
        port = int(arguments[arguments.index(b"--port") + 1])
        loot.attempt("the engine's port", _serves, port)


def _serves(port: int) -> str:
    """The engine answers anybody on this machine who knows its port."""
    with socket.create_connection(("127.0.0.1", port), timeout=2):
        return f"anybody on this machine reaches the engine on port {port}"


def _count() -> int:
    return len(list(filter(str.isdigit, os.listdir("/proc"))))


def _same_process(given: Given, name: str) -> str:
    """Tell whether that process id is here what it is outside."""
    started = Path(f"/proc/{given[name]}/stat").read_text().rpartition(")")[2].split()[19]
    return f"sees {name} {given[name]}" if started == given[f"{name}_started"] else ""


def _seize(given: Given, name: str) -> str:
    return _same_process(given, name) and kernel.seize(given[name])


def _seize_parent(given: Given) -> str:
    """Attach to its parent; one of the same user inside the same walls has nothing that it lacks."""
    parent = os.getppid()
    owner = os.stat(f"/proc/{parent}").st_uid
    found = kernel.seize(parent)
    return "" if apart("pid", given) and owner == os.getuid() else found


def _signal_group(pid: int) -> None:
    os.killpg(os.getpgid(pid), 0)


def _is_there(given: Given, name: str) -> bool:
    """Tell whether a process can be reached by its number, without `/proc`."""
    if apart("pid", given):
        try:
            return bool(_same_process(given, name))
        except OSError:
            return False
    return True


def _reachable(given: Given) -> list[str]:
    found = []
    for name in ("worker_pid", "server_pid", "decoy_pid"):
        if not _is_there(given, name):
            continue
        try:
            os.kill(given[name], 0)
        except OSError:
            continue
        found.append(name)
    return found


def _limits(pid: int) -> str:
    import resource

    limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
    return f"may set the limits of {pid}"


def _sockets(folder: str, deep: int) -> list[str]:
    """Return the sockets in a folder and below it; what cannot be listed is passed over."""
    found = []
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return []
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            found += _sockets(entry.path, deep - 1) if deep and entry.name not in (".venv", "postgres") else []
        elif stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
            found.append(entry.path)
    return found


def _abstract() -> list[str]:
    try:
        lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    except OSError:
        return []
    return sorted({line.split()[7] for line in lines if len(line.split()) > 7 and line.split()[7].startswith("@")})


def _connect(path: str) -> str:
    deadline = time.monotonic() + 2
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(max(0.1, deadline - time.monotonic()))
        client.connect(path)
    return f"connected to {path!r}"
