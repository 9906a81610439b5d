"""Programs that try to leave what holds an engine, and what they try to reach, for the tests of every rung."""

import contextlib
import errno
import json
import os
import socket
import subprocess
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
def send(place):
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.sendto(b"x", place)
attempt("unix socket", lambda: dial(socket.AF_UNIX, given["unix"]))
attempt("abstract socket", lambda: dial(socket.AF_UNIX, given["abstract"]))
attempt("datagram by a pair", lambda: send(given["unix"]))
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
attempt("comfyui", lambda: open("main.py", "a"))
attempt("setting", lambda: open("/proc/sys/kernel/hostname", "w"))
with __import__("contextlib").suppress(OSError):
    os.chmod(given["token"], 0o777)
    os.utime(given["token"], (1, 1))
"""
SAYS = """
print("got", got)
print("refused", len(refused))
"""


@contextlib.contextmanager
def victim(folder: Path, owner: int) -> Iterator[dict[str, Any]]:
    """Put up what is not the engine's: a token, another life's file, a process, sockets, of the worker's user."""
    token, other = folder / "token", folder / "base" / "lives" / "two" / "output" / "picture"
    other.parent.mkdir(parents=True)
    for path in (token, other):
        path.write_text("secret")
        path.chmod(0o644)
        os.chown(path, owner, owner)
    place = str(folder / "socket")
    process = subprocess.Popen(
        ["sleep", "600"], cwd="/", user=owner, group=owner, extra_groups=[], env={"TOKEN": "secret"}
    )
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
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
                "tcp": tcp.getsockname()[1],
                "is_root": owner == 0,
            }
        finally:
            process.kill()
            process.wait()
    assert token.read_text() == "secret"
    assert other.read_text() == "secret"
    assert (token.stat().st_mode & 0o777, token.stat().st_mtime > 1) == (0o644, True)


def with_given(code: str, given: dict[str, Any]) -> str:
    """Return a program that finds this in its last argument."""
    return f"import sys; sys.argv.append({json.dumps(given)!r})\n{code}"


def named(word: str) -> list[psutil.Process]:
    """Return the processes that have a word in their command line."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(word in part for part in process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
