"""What a run leaves in every place that it can write to, and another tenant's search for it."""

import builtins
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from . import import_time, kernel
from .loot import CANARY, Given, Loot, attack, engine_folders, files_below, search

_KEY = 0x52554E46
_QUEUE = "/runflow-hostile"
_RING_OF_USER, _RING_OF_SESSION = -4, -3
_KEPT: list[object] = []


def leave(loot: Loot, given: Given) -> None:
    """Leave the canary of this run wherever something may stay: memory, files, the kernel's own stores."""
    canary = given["canary"]
    content = canary.encode()
    _KEPT.append(canary)
    builtins.runflow_hostile_kept = canary  # type: ignore[attr-defined]
    os.environ["RUNFLOW_HOSTILE_KEPT"] = canary
    for where in _places():
        loot.note(f"file in {where}", Path(where, "left-here.txt").write_bytes, content)
    loot.note("shared memory", kernel.make_segment, _KEY, content)
    loot.note("message queue", kernel.send_queue, _QUEUE, content)
    for ring in (_RING_OF_USER, _RING_OF_SESSION):
        loot.note(f"key ring {ring}", kernel.add_key, "user", "runflow-hostile", content, ring)
    loot.note("abstract socket", _serve, content)
    loot.note("memory of the pack", import_time.share, content)


@attack("canary-in-memory", "a former tenant's text in its own address space, its environment and what Python keeps")
def canary_in_memory(loot: Loot, given: Given) -> None:
    """Search everything that this process can read of itself."""
    loot.attempt("module", list, _KEPT)
    loot.attempt("builtins", getattr, builtins, "runflow_hostile_kept", "")
    loot.attempt("environment", os.environ.get, "RUNFLOW_HOSTILE_KEPT", "")
    loot.attempt("address space", _search_own_memory)


@attack(
    "canary-on-disk",
    "a former tenant's text in every file that it can read: input, output, temp, home, `/tmp`, `/dev/shm`",
)
def canary_on_disk(loot: Loot, given: Given) -> None:
    """Search every place where a run may have left something."""
    for where in [*_places(), str(given["home"])]:
        loot.attempt(where, _search_below, where)


@attack("canary-in-kernel", "a former tenant's text in shared memory, message queues, key rings and abstract sockets")
def canary_in_kernel(loot: Loot, given: Given) -> None:
    """Search the kernel's own stores."""
    loot.attempt("shared memory", _found, kernel.read_segment, _KEY)
    loot.attempt("message queue", _found, kernel.receive_queue, _QUEUE)
    for ring in (_RING_OF_USER, _RING_OF_SESSION):
        loot.attempt(f"key ring {ring}", _found, kernel.read_key, "user", "runflow-hostile", ring)
    loot.attempt("abstract socket", _ask)


@attack("other-run-files", "input, output and temporary files of other runs, while the next tenant's run is prepared")
def other_run_files(loot: Loot, given: Given) -> None:
    """Look again and again for a file that holds a canary, as long as the test says.

    The test sends another tenant's run meanwhile, whose picture the worker may fetch before this run ends.
    """
    deadline = time.monotonic() + float(given["seconds"])
    folders = engine_folders()
    while time.monotonic() < deadline and not loot.got:
        for kind in ("input", "output", "temp", "base"):
            loot.attempt(kind, _search_below, folders[kind])
        loot.attempt("home", _search_below, given["home"])
        time.sleep(0.1)


def _found(read: Callable[..., bytes], *arguments: object) -> list[bytes]:
    return list(CANARY.findall(read(*arguments)))


def _places() -> list[str]:
    folders = engine_folders()
    shared = ["/dev/shm", "/tmp", "/var/tmp", "/run/lock"]
    kept = [folders["base"], f"{folders['base']}/models", f"{folders['home']}/.cache"]
    return [
        *dict.fromkeys(
            [*(folders[name] for name in ("input", "output", "temp", "user", "home", "tmp")), *kept, *shared]
        )
    ]


def _search_below(folder: str) -> list[str]:
    """Search the files below a folder; of `/tmp` and the like only what our own runs may have left."""
    found = []
    paths = (
        [f"{folder}/left-here.txt"] if folder in ("/dev/shm", "/tmp", "/var/tmp", "/run/lock") else files_below(folder)
    )
    for path in paths:
        try:
            if os.path.isfile(path) and search(path, CANARY):
                found.append(path)
        except OSError:
            continue
    return found[:5]


def _search_own_memory() -> list[str]:
    found: set[bytes] = set()
    descriptor = os.open("/proc/self/mem", os.O_RDONLY)
    with open("/proc/self/maps") as maps, os.fdopen(descriptor, "rb", buffering=0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            if not rights.startswith("rw"):
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            for at in range(start, end, 2**22):
                try:
                    found.update(CANARY.findall(os.pread(memory.fileno(), min(2**22 + 64, end - at), at)))
                except OSError:
                    break
    return sorted(one.decode() for one in found)


def _serve(content: bytes) -> str:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("\0runflow-hostile-kept")
    listener.listen()

    def answer() -> None:
        while True:
            client, _ = listener.accept()
            with client:
                client.sendall(content)

    threading.Thread(target=answer, daemon=True).start()
    return "listens"


def _ask() -> list[bytes]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        client.connect("\0runflow-hostile-kept")
        return list(CANARY.findall(client.recv(256)))
