"""Unpacking an archive of a stranger: regular files below one folder, nothing else, and not without a limit."""

from __future__ import annotations

import stat
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from ..cancellation import Cancelled
from .safe_paths import PathRefused, check_part

_MAX_FILES = 20_000
_MAX_BYTES = 2 << 30
_CHUNK = 1 << 20


class ArchiveRefused(Exception):
    """An archive is broken, too large, or tries to put files elsewhere; the message says which."""


def unpack(archive: Path, folder: Path, cancelled: threading.Event) -> list[str]:
    """Unpack a .zip or a .tar.gz into `folder`, which is made; returns the relative paths. Blocks.

    A single folder that holds everything, as hosts of git pack it, is left away. Links are left out, as in a checkout
    without links. Nothing becomes executable.

    Raises:
        ArchiveRefused: see there.
        Cancelled: `cancelled` was set.
    """
    folder.mkdir()
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                return _write(list(_zip_files(opened)), folder, cancelled)
        with tarfile.open(archive, "r:*") as opened_tar:
            return _write(list(_tar_files(opened_tar)), folder, cancelled)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise ArchiveRefused(f"The archive cannot be unpacked: {error}.") from error
    except ValueError as error:
        raise ArchiveRefused(f"The archive is broken: {error}.") from error


class _File:
    def __init__(self, name: str, size: int, open_: object) -> None:
        self.name, self.size, self._open = name, size, open_

    def open(self) -> IO[bytes]:
        return self._open()  # type: ignore[operator, no-any-return]


def _zip_files(opened: zipfile.ZipFile) -> Iterator[_File]:
    for row in opened.infolist():
        if not row.is_dir() and not stat.S_ISLNK(row.external_attr >> 16):
            yield _File(row.filename, row.file_size, lambda row=row: opened.open(row))


def _tar_files(opened: tarfile.TarFile) -> Iterator[_File]:
    total = 0
    for number, row in enumerate(opened):
        total += row.size
        if number > 2 * _MAX_FILES or total > _MAX_BYTES:
            raise ArchiveRefused("The archive holds too many entries.")
        if row.isreg():
            yield _File(row.name, row.size, lambda row=row: opened.extractfile(row))


def _write(files: list[_File], folder: Path, cancelled: threading.Event) -> list[str]:
    if len(files) > _MAX_FILES or sum(file.size for file in files) > _MAX_BYTES:
        raise ArchiveRefused("The archive is too large for a custom node.")
    paths = [_parts(file.name) for file in files]
    tops = {parts[0] for parts in paths}
    cut = 1 if len(tops) == 1 and all(len(parts) > 1 for parts in paths) else 0
    written: dict[str, str] = {}
    total = 0
    for file, parts in zip(files, paths):  # noqa: B905 (Python 3.10 in the field; the lengths are equal)
        relative = "/".join(parts[cut:])
        if relative.casefold() in written or ".git" in relative.casefold().split("/"):
            raise ArchiveRefused(f'The archive holds "{relative[:200]}" twice, or as a part of git.')
        written[relative.casefold()] = relative
        place = folder.joinpath(*parts[cut:])
        place.parent.mkdir(parents=True, exist_ok=True)
        with file.open() as content, place.open("xb") as target:
            while chunk := content.read(_CHUNK):
                total += len(chunk)
                if total > _MAX_BYTES:  # the archive may lie about sizes
                    raise ArchiveRefused("The archive is too large for a custom node.")
                if cancelled.is_set():
                    raise Cancelled
                target.write(chunk)
    return sorted(written.values())


def _parts(name: str) -> tuple[str, ...]:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    try:
        if not parts:
            raise PathRefused("an entry has no name.")
        for part in parts:
            check_part(part, hidden=True)
    except PathRefused as error:
        raise ArchiveRefused(f"The archive holds a path that is not allowed: {error}") from None
    return parts
