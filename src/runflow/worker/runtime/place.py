"""Unpack a source archive that others made, and put a fetched ComfyUI tree into its folder.

Nothing is written outside of the folder, and what its user keeps there is not touched.
"""

import shutil
import tarfile
from pathlib import Path

import orjson

from runflow.graph.media import path_fault
from runflow.worker.runtime.commands import InstallError
from runflow.worker.runtime.record import write_atomically

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


_PERMISSIONS = 0o755


def unpack(path: Path, target: Path) -> None:
    """Unpack a .tar, .tar.gz or .tar.xz. Links and devices are left out. Raises InstallError."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                _unpack_member(archive, member, target)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InstallError(f"{path} cannot be unpacked: {error}.") from None


def _unpack_member(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    if not (member.isfile() or member.isdir()):
        return
    fault = path_fault(member.name)
    if fault is not None:
        raise tarfile.TarError(f"its entry {member.name!r} is not acceptable: {fault}")
    place = target / member.name
    if member.isdir():
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(member)
    assert content is not None
    with content, place.open("wb") as file:
        shutil.copyfileobj(content, file)
    place.chmod((member.mode & _PERMISSIONS) | 0o600)
