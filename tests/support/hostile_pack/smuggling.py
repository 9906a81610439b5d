"""Files that are no plain files, as outputs of a run: what the worker opens, copies or removes on the engine's word.

Each prepares one thing below the run's folder and returns what the output node reports: subfolder and name, as ComfyUI
reports files. Some go on swapping things while the worker looks, until the next of them begins.
"""

import os
import socket
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from . import kernel
from .loot import Given, engine_folders

Reported = dict[str, Any]
"""A file as ComfyUI reports it, or under `ui` all that a node reports."""

SPARSE_BYTES = 100 * 2**30
_SWAP_SECONDS = 20.0


class Smuggle(NamedTuple):
    """One way, what it tries, and whether the run may succeed with a file of its own."""

    act: Callable[[Path, Given], Reported]
    tries: str


SMUGGLES: dict[str, Smuggle] = {}
_swapping = threading.Event()


def smuggle(name: str, tries: str) -> Callable[[Callable[[Path, Given], Reported]], Callable[[Path, Given], Reported]]:
    """Return a decorator that puts a function on the list; it gets the run's folder and what the attacker knows."""

    def add(act: Callable[[Path, Given], Reported]) -> Callable[[Path, Given], Reported]:
        SMUGGLES[name] = Smuggle(act, tries)
        return act

    return add


def report(path: Path, kind: str = "output") -> Reported:
    """Return a file below the output folder as ComfyUI reports it, without looking at it."""
    relative = path.relative_to(engine_folders()[kind])
    return {"filename": relative.name, "subfolder": relative.parent.as_posix(), "type": kind}


@smuggle("output-symlink", "a link to the master key in place of an output")
def output_symlink(folder: Path, given: Given) -> Reported:
    """Point a link at the secret."""
    path = folder / "link.txt"
    path.symlink_to(given["secret_key"])
    return report(path)


@smuggle("output-symlinked-folder", "a link to the home in place of the folder of an output")
def output_symlinked_folder(folder: Path, given: Given) -> Reported:
    """Point a folder at the secret's folder."""
    secret = Path(given["secret_key"])
    (folder / "away").symlink_to(secret.parent)
    return report(folder / "away" / secret.name)


@smuggle("output-hard-link", "a hard link to the master key, or to a file of its own, in place of an output")
def output_hard_link(folder: Path, given: Given) -> Reported:
    """Link the secret, or where the kernel refuses that, a file of its own that it can change afterwards."""
    path = folder / "hard.txt"
    try:
        path.hardlink_to(given["secret_key"])
    except OSError:
        (folder / "other.txt").write_text("text")
        path.hardlink_to(folder / "other.txt")
    return report(path)


@smuggle("output-fifo", "a pipe in place of an output, which blocks whoever opens it")
def output_fifo(folder: Path, given: Given) -> Reported:
    """Make a FIFO that nobody writes to."""
    os.mkfifo(folder / "pipe.txt")
    return report(folder / "pipe.txt")


@smuggle("output-device", "a device in place of an output, or a link to one that never ends")
def output_device(folder: Path, given: Given) -> Reported:
    """Make the device of zeros, or where the kernel refuses that, a link to it."""
    path = folder / "device.txt"
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except OSError:
        path.symlink_to("/dev/zero")
    return report(path)


@smuggle("output-socket", "a socket in place of an output")
def output_socket(folder: Path, given: Given) -> Reported:
    """Bind a socket there."""
    here = Path.cwd()
    os.chdir(folder)  # a socket's path is short
    try:
        socket.socket(socket.AF_UNIX).bind("socket.txt")
    finally:
        os.chdir(here)
    return report(folder / "socket.txt")


@smuggle("output-folder", "a folder in place of an output")
def output_folder(folder: Path, given: Given) -> Reported:
    """Make a folder there."""
    (folder / "folder.txt").mkdir()
    return report(folder / "folder.txt")


@smuggle("output-sparse", "a file of 100 GB that takes no room on the disk")
def output_sparse(folder: Path, given: Given) -> Reported:
    """Make it as long as the file system allows."""
    path = folder / "sparse.txt"
    size = SPARSE_BYTES
    while size:
        try:
            with path.open("wb") as file:
                file.truncate(size)
            break
        except OSError:
            size //= 10
    return report(path)


@smuggle("output-outside", "a name that leads out of the output folder by `..`")
def output_outside(folder: Path, given: Given) -> Reported:
    """Name the secret from here."""
    secret = Path(given["secret_key"])
    up = "/".join([".."] * len(Path(engine_folders()["output"]).parts))
    return {"filename": secret.name, "subfolder": f"{up}{secret.parent}", "type": "output"}


@smuggle("output-other-type", "a file of a folder that is none of the engine's, as an output")
def output_other_type(folder: Path, given: Given) -> Reported:
    """Report a file of another kind of folder, below the secret's."""
    return {"filename": "secret.key", "subfolder": "", "type": "../../../.."}


@smuggle(
    "output-swapped-file", "its output and a link to the master key, swapped thousands of times between check and use"
)
def output_swapped_file(folder: Path, given: Given) -> Reported:
    """Swap a regular file and a link, so that some look sees the one and some open the other."""
    path, other = folder / "swapped.txt", folder / "other.txt"
    path.write_text("a harmless text\n")
    other.symlink_to(given["secret_key"])
    _swap([(path, other)])
    return report(path)


@smuggle("output-swapped-folder", "the folder of its output and a link to the home, swapped between check and use")
def output_swapped_folder(folder: Path, given: Given) -> Reported:
    """Swap the folder above a file and a link to the secret's folder."""
    secret = Path(given["secret_key"])
    real, link = folder / "swapped", folder / "other"
    real.mkdir()
    (real / secret.name).write_text("a harmless text\n")
    link.symlink_to(secret.parent)
    _swap([(real, link)])
    return report(real / secret.name)


@smuggle("output-swapped-fifo", "its output and a pipe, swapped between check and use")
def output_swapped_fifo(folder: Path, given: Given) -> Reported:
    """Swap a regular file and a FIFO, so that a checked open may block for ever."""
    path, other = folder / "swapped.txt", folder / "other.txt"
    path.write_text("a harmless text\n")
    os.mkfifo(other)
    _swap([(path, other)])
    return report(path)


@smuggle("output-growing", "a file that grows while it is read")
def output_growing(folder: Path, given: Given) -> Reported:
    """Append to a file as fast as it is read, up to a bound."""
    path = folder / "growing.txt"
    path.write_text("start\n")

    def grow() -> None:
        for _ in range(2000):
            with path.open("ab") as file:
                file.write(b"more of it\n" * 1000)

    _in_background(grow)
    return report(path)


@smuggle("output-shrinking", "a file that is cut off while it is uploaded")
def output_shrinking(folder: Path, given: Given) -> Reported:
    """Cut and refill a file all the time."""
    path = folder / "shrinking.txt"
    path.write_bytes(b"a" * 2_000_000)

    def shrink() -> None:
        while _swapping.is_set():
            os.truncate(path, 10)
            os.truncate(path, 2_000_000)

    _in_background(shrink)
    return report(path)


@smuggle(
    "input-swapped-folder",
    "its input folder and a link to a folder of root, for the worker to write the next input there",
)
def input_swapped_folder(folder: Path, given: Given) -> Reported:
    """Swap the folders that the worker will put the next run's input into."""
    base = Path(engine_folders()["input"])
    pairs = []
    for real in (base, base / "runflow"):
        link = real.parent / f"other-{real.name}"
        try:
            real.mkdir(exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(given["closed_folder"])
        except OSError:
            continue
        pairs.append((real, link))
    _swap(pairs)
    (folder / "done.txt").write_text("a harmless text\n")
    return report(folder / "done.txt")


def _swap(pairs: list[tuple[Path, Path]]) -> None:
    def loop() -> None:
        while _swapping.is_set():
            for one, other in pairs:
                kernel.exchange(str(one), str(other))

    _in_background(loop)


def _in_background(act: Callable[[], None]) -> None:
    """Do it in a thread, until the next smuggle begins or the time is up; it ends when its files are removed."""
    _swapping.clear()
    mine = threading.Event()
    mine.set()

    def run() -> None:
        deadline = time.monotonic() + _SWAP_SECONDS
        timer = threading.Timer(_SWAP_SECONDS, _swapping.clear)
        timer.daemon = True
        timer.start()
        while time.monotonic() < deadline and _swapping.is_set():
            try:
                act()
            except OSError:
                return
            if act.__name__ == "grow":
                return

    _swapping.set()
    threading.Thread(target=run, daemon=True).start()
