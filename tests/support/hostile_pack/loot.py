"""What an attack got and what it was refused, and the list of all attacks.

An attack is a function of (loot, given): it tries several ways, each a call of `loot.attempt`. `given` is what a real
attacker finds out by trying: paths, process ids and ports of the installation that the test made for it. Nothing here
reads or touches what is not of that installation: where an attack would hurt the whole machine if nothing held it, it
first asks whether it is shut in (`apart`), and where it is not, that is the loot.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

Given = Mapping[str, Any]

LONGEST_FILE = 4 * 2**20
"""Bytes of a file that are looked through."""


class Loot:
    """What one attack got, by the way that it took, and what the other ways met."""

    def __init__(self) -> None:
        self.got: dict[str, str] = {}
        self.refused: dict[str, str] = {}

    def attempt(self, way: str, act: Callable[..., object], *arguments: object) -> bool:
        """Try one way: what it returns is the loot if it is true, or None: it was allowed. Tells whether it was."""
        try:
            found = act(*arguments)
        except Exception as error:
            self.refused[way] = f"{type(error).__name__}: {error}"[:200]
            return False
        if found is not None and not found:
            self.refused[way] = "nothing there"
            return False
        self.got[way] = "allowed" if found is None else str(found)[:300]
        return True

    def note(self, way: str, act: Callable[..., object], *arguments: object) -> None:
        """Do something that is no loot by itself: whether it did harm is seen elsewhere, later."""
        if self.attempt(way, act, *arguments):
            self.refused[way] = self.got.pop(way)

    def as_json(self) -> dict[str, dict[str, str]]:
        """Return it as the test reads it."""
        return {"got": self.got, "refused": self.refused}


class Attack(NamedTuple):
    """One attack, and what it tries, in the words of docs/security.md."""

    act: Callable[[Loot, Given], None]
    tries: str


ATTACKS: dict[str, Attack] = {}


def attack(name: str, tries: str) -> Callable[[Callable[[Loot, Given], None]], Callable[[Loot, Given], None]]:
    """Return a decorator that puts a function on the list of attacks."""

    def add(act: Callable[[Loot, Given], None]) -> Callable[[Loot, Given], None]:
        ATTACKS[name] = Attack(act, tries)
        return act

    return add


def apart(kind: str, given: Given) -> bool:
    """Tell whether this process has a namespace of that kind (`pid`, `mnt`, `net`, `user`) other than the worker's."""
    try:
        return os.readlink(f"/proc/self/ns/{kind}") != str(given["namespaces"][kind])
    except FileNotFoundError:
        return True


# The patterns do not match themselves: this process's own memory is searched with them.
TOKEN = re.compile(rb"[r]f_work_[A-Za-z0-9]{40}")
CANARY = re.compile(rb"[C]ANARY-[0-9a-f]{32}")


def search(path: Path | str, pattern: re.Pattern[bytes]) -> list[str]:
    """Return what matches in a file. Raises OSError."""
    return sorted({found.decode() for found in pattern.findall(_start_of(path))})


def read(path: Path | str) -> str:
    """Return how many bytes of a file could be read, none for an empty one. Raises OSError."""
    content = _start_of(path)
    return f"{len(content)} bytes of {path}" if content else ""


def _start_of(path: Path | str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(descriptor, LONGEST_FILE)
    finally:
        os.close(descriptor)


def opens_to_write(path: Path | str) -> str:
    """Open a file for writing, and write nothing. Raises OSError."""
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    return f"{path} opens for writing"


def listing(path: Path | str) -> str:
    """Return the names in a folder. Raises OSError."""
    return ", ".join(sorted(os.listdir(path))[:20])


def files_below(folder: Path | str, most: int = 20_000) -> Iterator[str]:
    """Yield the files below a folder that can be listed."""
    for root, folders, names in os.walk(folder):
        # What the engine is made of is nobody's secret, and there is much of it.
        folders[:] = [name for name in folders if name not in ("site-packages", "custom_nodes", "comfyui")]
        for name in names:
            most -= 1
            if most < 0:
                return
            yield os.path.join(root, name)


def engine_folders() -> dict[str, str]:
    """Return the folders that ComfyUI gives to its nodes."""
    import folder_paths  # type: ignore[import-not-found, unused-ignore]

    return {
        "input": str(folder_paths.get_input_directory()),
        "output": str(folder_paths.get_output_directory()),
        "temp": str(folder_paths.get_temp_directory()),
        "user": str(folder_paths.get_user_directory()),
        "base": str(folder_paths.base_path),
        "home": os.environ.get("HOME", "/"),
        "tmp": os.environ.get("TMPDIR", "/tmp"),
    }
