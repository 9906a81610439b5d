"""Folders that node packs write to when they are imported. Stands alone: it runs in the engine's own Python.

Many packs keep settings, caches or copies of their files beside their code. Where the worker is root, the folders of
an installation are root's, so an engine, which is somebody else, gets folders of its own over them: what it writes
there is forgotten with it. The files of an installation stay as they are: they can be replaced, not written to.
"""

import os

NODES = "custom_nodes"
_MOST = 1000
_DEEPEST = 4
_LEFT_OUT = (".git", "__pycache__", "node_modules")


def make(sources: "list[str]", target: str, owner: "int | None") -> None:
    """Make in `target`, which is nobody else's, the folders of the packs in these ComfyUI folders, for a user.

    Of very many, those that lie highest. Without an owner nothing is made: then they are the engine's own.
    """
    if owner is None:
        return
    for name in _names(sources):
        place = os.path.join(target, name)
        os.makedirs(place, mode=0o755, exist_ok=True)
        os.chown(place, owner, owner)


def give_files(written: str, place: str, owner: "int | None") -> None:
    """Give a user the files of packs below a folder, which others wrote there, as copies that `place` shows of them."""
    if owner is None:
        return
    left = _MOST
    for name in _names([written]):
        for one in _entries(os.path.join(written, name)):
            if left and one.is_file(follow_symlinks=False):
                left -= 1
                try:
                    os.chown(os.path.join(place, name, one.name), owner, owner, follow_symlinks=False)
                except OSError:  # it is gone, or hidden by what lies over it
                    continue


def _names(sources: "list[str]") -> "list[str]":
    """Return the folders' paths, each behind the one that it lies in."""
    found: list[str] = []
    level = [NODES]
    for _ in range(_DEEPEST):
        level = level[: _MOST - len(found)]
        found += level
        below = []
        for name in level:
            for source in sources:
                below += [os.path.join(name, one) for one in _folders(os.path.join(source, name))]
        level = sorted(set(below))
    return found


def _folders(place: str) -> "list[str]":
    """Return the folders in one, and no link to any."""
    return [one.name for one in _entries(place) if one.is_dir(follow_symlinks=False) and one.name not in _LEFT_OUT]


def _entries(place: str) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(place) as entries:
            return list(entries)
    except OSError:  # it is not there, or not a folder
        return []
