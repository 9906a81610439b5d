"""Put a fetched ComfyUI tree into its folder without touching what its user keeps there."""

import shutil
from pathlib import Path

import orjson

from runflow.worker.runtime.atomic import write_atomically

KEPT = ("models", "custom_nodes", "input", "output", "user", "temp")
"""Folders of the user: only files that are not there yet are added to them, and nothing is ever removed."""


def place_tree(tree: Path, directory: Path, list_path: Path) -> None:
    """Move the tree's entries into the folder, replacing those of an older tree.

    `list_path` remembers what was placed, so that the next version's placing can remove what it no longer has. May be
    repeated after being killed half-way, with a freshly fetched tree.
    """
    entries = sorted(entry.name for entry in tree.iterdir())
    try:
        before: list[str] = orjson.loads(list_path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        before = []
    write_atomically(list_path, orjson.dumps(sorted({*entries, *before})))
    for name in {*before} - {*entries} - {*KEPT}:
        _remove(directory / name)
    for name in entries:
        source, target = tree / name, directory / name
        if name in KEPT and target.is_dir():
            _add_missing(source, target)
        else:
            _remove(target)
            source.rename(target)
    write_atomically(list_path, orjson.dumps(entries))


def _add_missing(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir() and not path.is_symlink():
            place.mkdir(exist_ok=True)
        elif not place.exists() and not place.is_symlink():
            path.rename(place)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
