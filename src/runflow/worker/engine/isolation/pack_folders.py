"""Folders that node packs write to when they are imported. Stands alone: it runs in the engine's own Python.

Many packs keep settings, caches or copies of their files beside their code. Where the worker is root, the folders of
an installation are root's, so an engine, which is somebody else, gets folders of its own over them: what it writes
there is forgotten with it. The files of an installation stay as they are: they can be replaced, not written to.

Whoever calls this has rights, and reads what strangers wrote: no link is followed, and nothing is without a bound.
"""

import itertools
import os
import stat

NODES = "custom_nodes"
_MOST = 1000
_MOST_ENTRIES = 20_000
_DEEPEST = 4
_MOST_FILE_BYTES = 1024 * 1024
_MOST_BYTES = 16 * 1024 * 1024
_LEFT_OUT = (".git", "__pycache__", "node_modules")


def make(sources: "list[str]", target: str, owner: "int | None") -> "list[str]":
    """Make in `target`, which is nobody else's, the folders of packs that these ComfyUI folders show, for a user.

    `sources` lie over one another, the first on top. Returns the paths, below any of them. Of very many folders those
    that lie highest are made. Without an owner none is: then they are the engine's own.
    """
    if owner is None:
        return []
    names = _names(sources)
    for name in names:
        place = os.path.join(target, name)
        os.makedirs(place, mode=0o755, exist_ok=True)
        os.chown(place, owner, owner)
    return names


def give_files(written: str, place: str, names: "list[str]", owner: "int | None") -> None:
    """Give a user small files in these folders that others wrote to `written`, as copies that `place` shows of them."""
    if owner is None:
        return
    left, bytes_left = _MOST, _MOST_BYTES
    for name in names:
        shown = _opened(place, name)
        if shown is None:
            continue
        for one, state in _entries(written, name, _MOST):
            if not stat.S_ISREG(state.st_mode) or state.st_size > min(_MOST_FILE_BYTES, bytes_left) or not left:
                continue
            left, bytes_left = left - 1, bytes_left - state.st_size
            try:
                os.chown(one, owner, owner, dir_fd=shown, follow_symlinks=False)
            except OSError:  # it is gone, or hidden by what lies over it
                continue
        os.close(shown)


def _names(sources: "list[str]") -> "list[str]":
    """Return the folders' paths, each behind the one that it lies in."""
    found: list[str] = []
    level = _below({"": sources}, only=NODES)
    for _ in range(_DEEPEST):
        level = dict(itertools.islice(sorted(level.items()), _MOST - len(found)))
        found += level
        level = _below(level)
    return found


def _below(level: "dict[str, list[str]]", only: str = "") -> "dict[str, list[str]]":
    """Return the folders in these, each with the sources that it is a folder in, as far as none above hides it."""
    found: dict[str, list[str]] = {}
    left = _MOST_ENTRIES
    for name, sources in level.items():
        hidden = set()
        for source in sources:
            entries = _entries(source, name, left)
            left -= len(entries)
            for one, state in entries:
                path = os.path.join(name, one)
                if path in hidden or one in _LEFT_OUT or (only and one != only):
                    continue
                if stat.S_ISDIR(state.st_mode):
                    found.setdefault(path, []).append(source)
                else:
                    hidden.add(path)
    return found


def _entries(source: str, name: str, most: int) -> "list[tuple[str, os.stat_result]]":
    """Return what lies in a folder, of very much the first; nothing where it is no folder, or a link leads there."""
    opened = _opened(source, name)
    if opened is None:
        return []
    try:
        with os.scandir(opened) as entries:
            return [(one.name, one.stat(follow_symlinks=False)) for one in itertools.islice(entries, most)]
    except OSError:
        return []
    finally:
        os.close(opened)


def _opened(source: str, name: str) -> "int | None":
    """Open a folder below another one, through folders alone."""
    try:
        opened = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    for part in filter(None, name.split(os.sep)):
        try:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=opened)
        except OSError:
            os.close(opened)
            return None
        os.close(opened)
        opened = below
    return opened
