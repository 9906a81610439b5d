"""How much of the disk a folder takes, and what goes first where that is too much."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that may go, the one with the least `order` first; `name` is its own.

    `remove` does that, unless it is in use or was used meanwhile, and says whether it did.
    """

    name: str
    order: float
    remove: Callable[[], bool]


def used_bytes(folder: Path) -> int:
    """Return what the removal of a folder would give back.

    A file counts once, however many names it has there, and not at all where it has one elsewhere. What comes and goes
    meanwhile may be missed.
    """
    used = 0
    linked: dict[tuple[int, int], list[int]] = {}
    for found in _entries(folder):
        size = found.st_blocks * _BLOCK
        if stat.S_ISDIR(found.st_mode) or found.st_nlink < 2:
            used += size
            continue
        seen = linked.setdefault((found.st_dev, found.st_ino), [0, found.st_nlink, size])
        seen[0] += 1
    return used + sum(size for names, links, size in linked.values() if names >= links)


def make_room(folder: Path, most_bytes: int, candidates: Callable[[], Iterable[Candidate]]) -> None:
    """Remove one after the other until a folder takes no more than this, or nothing is left that may go."""
    tried: set[str] = set()
    while used_bytes(folder) > most_bytes:
        # What one had may be less than it seemed, or set another free: so all is looked at anew after each.
        for one in sorted(candidates(), key=lambda one: one.order):
            if one.name not in tried:
                tried.add(one.name)
                if one.remove():
                    break
        else:
            return


def _entries(folder: Path) -> Iterator[os.stat_result]:
    left = [str(folder)]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    try:
                        found = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if stat.S_ISDIR(found.st_mode):
                        left.append(entry.path)
                    yield found
        except FileNotFoundError:
            continue
