"""Programs that try to leave what holds an engine, and what they try to reach, for the tests of every rung."""

import contextlib
import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

LOOK_AROUND = """
import os
print(sorted(os.listdir("/")))
print([int(name) for name in os.listdir("/proc") if name.isdigit()])
"""
RIGHTS = """
import ctypes, os
status = dict(line.rstrip().split(":", 1) for line in open("/proc/self/status"))
print("rights", *(status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs")))
libc = ctypes.CDLL(None, use_errno=True)
calls = {"users": lambda: libc.unshare(0x10000000), "clone": lambda: libc.syscall(56, 0x10000011, 0, 0, 0, 0),
         "clone3": lambda: libc.syscall(435, None, 0), "setns": lambda: libc.setns(0, 0)}
for name, call in calls.items():
    answer = call()
    if answer == 0:
        os._exit(3)
    print(name, answer, os.strerror(ctypes.get_errno()))
print("mount", libc.mount(b"tmpfs", b"/usr", b"tmpfs", 0, None))
try:
    os.setuid(12)
    print("setuid worked")
except OSError:
    print("setuid refused")
"""


def assert_has_no_right(said: str) -> None:
    """Fail where RIGHTS got one. That a namespace is refused says the filter, not a setting: it has another error."""
    assert "rights 0000000000000000 0000000000000000 0000000000000000 1" in said
    refused = os.strerror(errno.EPERM)
    assert f"users -1 {refused}" in said
    assert f"clone -1 {refused}" in said or os.uname().machine != "x86_64"
    assert f"setns -1 {refused}" in said
    assert f"clone3 -1 {os.strerror(errno.ENOSYS)}" in said
    assert "mount -1" in said
    assert "setuid refused" in said


DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("daemon", flush=True)
        while True:
            time.sleep(1)
    os._exit(0)
print("ready", flush=True)
while True:
    time.sleep(1)
"""


TRIES = """
import ctypes, json, os, shutil, signal, socket, sys
given = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
with open("/dev/null", "w") as null, open("/dev/urandom", "rb") as random:
    null.write("x")
    random.read(1)
got, refused = [], []
def attempt(name, action):
    try:
        action()
        got.append(name)
    except OSError:
        refused.append(name)
def checked(answer):
    if answer < 0:
        raise OSError(ctypes.get_errno(), "refused")
def changed(look, action):
    before = look()
    action()
    if look() == before:
        raise OSError("it says so, and did not")
def reading(place, action):
    descriptor = os.open(place, os.O_RDONLY)
    try:
        action(descriptor)
    finally:
        os.close(descriptor)
def remote(process):
    held = ctypes.create_string_buffer(8)
    pair = (ctypes.c_void_p * 2)(ctypes.addressof(held), 8)
    checked(libc.process_vm_readv(process, pair, 1, pair, 1, 0))
for name in ("token", "other"):
    attempt(f"read {name}", lambda: open(given[name]).read())
    attempt(f"write {name}", lambda: open(given[name], "a"))
    attempt(f"cut {name}", lambda: os.truncate(given[name], 0))
    attempt(f"remove {name}", lambda: os.remove(given[name]))
    attempt(f"link {name}", lambda: os.link(given[name], os.environ["BASE"] + "/output/linked"))
    attempt(f"move {name}", lambda: os.rename(given[name], os.environ["BASE"] + "/output/moved"))
    attempt(f"list {name}", lambda: os.listdir(os.path.dirname(given[name])))
    os.path.exists(os.environ["BASE"] + "/output/soft") or os.symlink(given[name], os.environ["BASE"] + "/output/soft")
    attempt(f"read {name} by a link", lambda: open(os.environ["BASE"] + "/output/soft").read())
    os.remove(os.environ["BASE"] + "/output/soft")
for name in ("environ", "cmdline", "mem", "maps", "root/etc/passwd", "cwd/token", "fd"):
    attempt(f"worker's {name}", lambda: os.close(os.open(f"/proc/{given['worker']}/{name}", os.O_RDONLY)))
for number in (signal.SIGCONT, 0):
    attempt("signal", lambda: os.kill(given["worker"], number))
    attempt("signal to the parent", lambda: os.kill(os.getppid(), number))
attempt("trace", lambda: checked(libc.ptrace(16, given["worker"], None, None)))
attempt("read memory", lambda: remote(given["worker"]))
attempt("limits", lambda: __import__("resource").prlimit(given["worker"], 7, (10, 10)))
attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, given["worker"], 19))
attempt("affinity", lambda: os.sched_setaffinity(given["worker"], {0}))
def dial(family, place, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as one:
        one.settimeout(5)
        one.connect(place)
def send(place, kind):
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    one.sendto(b"x", place)
attempt("unix socket", lambda: dial(socket.AF_UNIX, given["unix"]))
attempt("abstract socket", lambda: dial(socket.AF_UNIX, given["abstract"]))
for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_RAW | socket.SOCK_CLOEXEC):
    attempt(f"datagram by a pair of {kind}", lambda: send(given["datagram"], kind))
    attempt(f"abstract datagram by a pair of {kind}", lambda: send(given["abstract datagram"], kind))
attempt("tcp", lambda: dial(socket.AF_INET, ("127.0.0.1", given["tcp"])))
attempt("udp", lambda: dial(socket.AF_INET, ("127.0.0.1", given["tcp"]), socket.SOCK_DGRAM))
attempt("vsock", lambda: socket.socket(40, socket.SOCK_STREAM))
attempt("shared memory", lambda: checked(libc.shmget(0, 4096, 0o1777)))
attempt("queue", lambda: checked(libc.mq_open(b"/runflow", 0o102, 0o600, None)))
attempt("memory by name", lambda: open("/dev/shm/runflow-test", "w"))
attempt("users", lambda: checked(libc.unshare(0x10000000)))
attempt("mount", lambda: checked(libc.mount(b"tmpfs", b"/usr", b"tmpfs", 0, None)))
attempt("setuid", lambda: os.setuid(12))
attempt("tmp", lambda: open("/tmp/runflow-left", "w"))
attempt("remove shared memory", lambda: checked(libc.shmctl(given["memory"], 0, None)))
attempt("set semaphore", lambda: checked(libc.semctl(given["semaphore"], 0, 16, 42)))
attempt("remove queue", lambda: checked(libc.msgctl(given["queue"], 0, None)))
above = os.path.dirname(given["token"]).encode()
attempt("watch", lambda: checked(libc.inotify_add_watch(libc.inotify_init1(0), above, 0x100)))
if os.getuid() == given["owner"] != 0:  # these are for every process of the user
    attempt("priority of all", lambda: os.setpriority(os.PRIO_USER, 0, 7))
    number = 251 if os.uname().machine == "x86_64" else 30
    attempt("I/O priority of all", lambda: checked(libc.syscall(number, 3, 0, 0x6000)))
for place in ("/dev/null", "/dev/urandom", "/usr/bin/env"):
    same = os.stat(place).st_mode & 0o7777
    touched = lambda: os.stat(place).st_ctime_ns
    attempt(f"mode of {place}", lambda: changed(touched, lambda: os.chmod(place, same)))
    attempt(f"mode of open {place}", lambda: changed(touched, lambda: reading(place, lambda one: os.fchmod(one, same))))
def lease(one):
    fcntl.fcntl(one, fcntl.F_SETLEASE, fcntl.F_WRLCK)
def flag(one):
    flags, = struct.unpack("l", fcntl.ioctl(one, 0x80086601, bytes(8)))
    fcntl.ioctl(one, 0x40086602, struct.pack("l", flags | 8))
import fcntl, struct
for place, wanted in (("main.py", 0o6755), (".", 0o777)):
    mode = lambda: os.stat(place).st_mode
    attempt("comfyui's mode", lambda: changed(mode, lambda: reading(place, lambda one: os.fchmod(one, wanted))))
times = lambda: os.stat("main.py").st_mtime
attempt("comfyui's times", lambda: changed(times, lambda: reading("main.py", lambda one: os.utime(one, (1, 1)))))
attempt("comfyui's owner", lambda: reading("main.py", lambda one: os.fchown(one, os.getuid(), os.getgid())))
attempt("comfyui's attributes", lambda: reading("main.py", lambda one: os.setxattr(one, "user.x", b"y")))
attempt("comfyui's flags", lambda: reading("main.py", flag))
attempt("comfyui's lease", lambda: reading("main.py", lease))
for how in (os.O_RDONLY, 3):
    attempt("empty comfyui", lambda: os.close(os.open("main.py", how | os.O_TRUNC)))
attempt("comfyui", lambda: open("main.py", "a"))
attempt("setting", lambda: open("/proc/sys/kernel/hostname", "w"))
with __import__("contextlib").suppress(OSError):
    os.chmod(given["token"], 0o777)
    os.utime(given["token"], (1, 1))
"""
LEAVES_A_PROGRAM = """
import os, shutil
place = os.environ["BASE"] + "/output"
shutil.copy("/usr/bin/env", place + "/left")
os.close(os.open(place + "/made", os.O_CREAT | os.O_WRONLY, 0o6755))
for name, mode in (("", 0o755), ("/left", 0o6755)):
    os.chmod(place + name, mode)
    descriptor = os.open(place + name, os.O_RDONLY)
    os.fchmod(descriptor, mode)
print("left")
"""
MAKES = """
import ctypes
libc = ctypes.CDLL(None)
print(libc.shmget(0, 4096, 0o1600), libc.semget(0, 1, 0o1600), libc.msgget(0, 0o1600))
"""
SAYS = """
print("got", got)
print("refused", len(refused))
"""


@contextlib.contextmanager
def victim(folder: Path, owner: int) -> Iterator[dict[str, Any]]:
    """Put up what is not the engine's: a token, another life's file, a process, sockets, of the worker's user.

    In `folder`, where `comfy` is the ComfyUI.
    """
    token, other = folder / "token", folder / "base" / "lives" / "two" / "output" / "picture"
    other.parent.mkdir(parents=True)
    for path in (token, other):
        path.write_text("secret")
        path.chmod(0o644)
        os.chown(path, owner, owner)
    comfyui = folder / "comfy"
    for path in (comfyui, comfyui / "main.py"):
        os.chown(path, owner, owner)
    had = {path: _state(path) for path in (comfyui, comfyui / "main.py")}
    memory, semaphore, queue = (int(one) for one in _as_user(owner, MAKES).split())
    place = str(folder / "socket")
    process = subprocess.Popen(
        ["sleep", "600"], cwd="/", user=owner, group=owner, extra_groups=_no_groups(), env={"TOKEN": "secret"}
    )
    priority = os.getpriority(os.PRIO_PROCESS, process.pid)
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract_datagram,
    ):
        datagram.bind(f"{place}-datagram")
        Path(f"{place}-datagram").chmod(0o777)
        abstract_datagram.bind(f"\0{place}-datagram")
        unix.bind(place)
        unix.listen()
        Path(place).chmod(0o777)
        abstract.bind(f"\0{place}")
        abstract.listen()
        try:
            yield {
                "token": str(token),
                "other": str(other),
                "worker": process.pid,
                "unix": place,
                "abstract": f"\0{place}",
                "datagram": f"{place}-datagram",
                "abstract datagram": f"\0{place}-datagram",
                "memory": memory,
                "semaphore": semaphore,
                "queue": queue,
                "tcp": tcp.getsockname()[1],
                "owner": owner,
                "is_root": owner == 0,
            }
            assert os.getpriority(os.PRIO_PROCESS, process.pid) == priority
        finally:
            process.kill()
            process.wait()
            _as_user(owner, f"import ctypes; libc = ctypes.CDLL(None); libc.shmctl({memory}, 0, None)")
            _as_user(owner, f"import ctypes; libc = ctypes.CDLL(None); libc.semctl({semaphore}, 0, 0)")
            _as_user(owner, f"import ctypes; libc = ctypes.CDLL(None); libc.msgctl({queue}, 0, None)")
    assert token.read_text() == "secret"
    assert other.read_text() == "secret"
    assert (token.stat().st_mode & 0o777, token.stat().st_mtime > 1) == (0o644, True)
    assert {path: _state(path) for path in had} == had


def _state(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return (found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns)


def _as_user(user: int, code: str) -> str:
    python = sys.executable if user == os.geteuid() else "/usr/bin/python3"
    started = [python, "-I", "-S", "-c", code]
    return subprocess.check_output(started, user=user, group=user, extra_groups=_no_groups(), cwd="/", text=True)


def _no_groups() -> list[str | int] | None:
    """Only root may leave its groups."""
    return [] if os.geteuid() == 0 else None


def assert_nobody_else_gets_to(program: Path) -> None:
    """Fail where another user of the machine could start what an engine left, or look at it. Asks for root."""
    assert program.exists()
    code = f"import os; os.stat({str(program.parent)!r}); os.execv({str(program)!r}, ['env'])"
    ended = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", "-c", code],
        user=12_345,
        group=12_345,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "PermissionError" in ended.stderr


def with_given(code: str, given: dict[str, Any]) -> str:
    """Return a program that finds this in its last argument."""
    return f"import sys; sys.argv.append({json.dumps(given)!r})\n{code}"


def lives(process: psutil.Process) -> bool:
    """Tell whether a process has not ended. It may do so between two looks at it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def named(word: str) -> list[psutil.Process]:
    """Return the processes that have a word in their command line."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(word in part for part in process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
