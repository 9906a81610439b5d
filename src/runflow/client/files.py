"""Files of the caller's: paths, bytes and open files that become assets, and the places of those that were fetched."""

import hashlib
import io
import mimetypes
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

CHUNK = 1 << 20
UNKNOWN = "application/octet-stream"
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"GIF8", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
)
"""How images that people feed to workflows begin: a `.jpg` that is a PNG would be refused as what its name says."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that can be read from its start any number of times."""

    name: str
    mime_type: str
    size: int
    start: "Callable[[], tuple[BinaryIO, bool]]"
    """Gives the file at its start, and whether it is to be closed afterwards."""

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Read it from its start."""
        file, ours = self.start()
        try:
            yield file
        finally:
            if ours:
                file.close()

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes."""
        with self.open() as file:
            while chunk := file.read(CHUNK):
                yield chunk

    def sha256(self) -> str:
        """Return the SHA-256 of its bytes, in hex."""
        digest = hashlib.sha256()
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class File:
    """A value of an input with a name and type of the caller's own: a path, bytes, or an open binary file."""

    content: Any
    name: str | None = None
    mime_type: str | None = None


def is_file(value: Any) -> bool:
    """Return whether a value of an input is a file to upload; text never is, so that no text can name a file."""
    if isinstance(value, str):
        return False
    return isinstance(value, File | bytes | bytearray | memoryview | os.PathLike) or hasattr(value, "read")


def source_of(value: Any) -> Source:
    """Return the file that a value is. Raises OSError, and TypeError for a file opened as text."""
    given = value if isinstance(value, File) else File(value)
    content = given.content
    if isinstance(content, os.PathLike | str):
        path = Path(content)
        size = path.stat().st_size
        return _described(given, path.name, size, lambda: (path.open("rb"), True))
    if isinstance(content, bytes | bytearray | memoryview):
        return _of_bytes(given, bytes(content), None)
    if not hasattr(content, "read"):
        raise TypeError(f"{type(content).__name__} is no file: give a path, bytes, or a file opened with mode 'rb'.")
    shown = getattr(content, "name", None)
    name = Path(shown).name if isinstance(shown, str) else None
    if not (hasattr(content, "seekable") and content.seekable()):
        return _of_bytes(given, _binary(content.read()), name)
    begin = content.tell()
    _binary(content.read(0))
    size = content.seek(0, os.SEEK_END) - begin
    # It stands where it stood: it may be given once more, also by us.
    content.seek(begin)
    plain = isinstance(content, io.BufferedReader) and isinstance(content.raw, io.FileIO) and hasattr(os, "pread")
    if plain:  # several may read it at the same time
        return _described(given, name, size, lambda: (cast(BinaryIO, _Slice(content, begin)), False))

    def start() -> tuple[BinaryIO, bool]:
        content.seek(begin)
        return cast(BinaryIO, _Returning(content, begin)), True

    return _described(given, name, size, start)


class _Slice:
    """Reads an open file of the system from a position on, and leaves the file's own position alone."""

    def __init__(self, file: io.BufferedReader, position: int) -> None:
        self._file, self._position = file, position

    def read(self, count: int) -> bytes:
        found = os.pread(self._file.fileno(), count, self._position)
        self._position += len(found)
        return found


class _Returning:
    """Reads a file of the caller's, and has it stand where it stood instead of closing it."""

    def __init__(self, file: BinaryIO, position: int) -> None:
        self._file, self._position = file, position

    def read(self, count: int) -> bytes:
        return self._file.read(count)

    def close(self) -> None:
        self._file.seek(self._position)


def unfinished(path: Path) -> Path:
    """Return where a file lies until it is whole: beside its place, under a name that nobody else has."""
    return path.with_name(f".{secrets.token_hex(8)}.part")


def put(file: Path, path: Path, *, replaces: bool) -> Path:
    """Move a whole file to its place, or without `replaces` to the first name that is free; return it. Raises OSError.

    A name is taken before the file moves there, so that of several who save at the same time none takes another's.
    """
    place, number = path, 1
    while not replaces:
        try:
            place.touch(exist_ok=False)
        except FileExistsError:
            place = path.with_name(f"{path.stem}-{number}{path.suffix}")
            number += 1
        else:
            break
    try:
        return file.replace(place)
    except OSError:
        if not replaces:
            place.unlink(missing_ok=True)
        raise


def _of_bytes(given: File, content: bytes, name: str | None) -> Source:
    return _described(given, name, len(content), lambda: (BytesIO(content), True))


def _binary(content: Any) -> bytes:
    if not isinstance(content, bytes):
        raise TypeError("The file was opened as text. Open it with mode 'rb'.")
    return content


def _described(given: File, name: str | None, size: int, start: Callable[[], tuple[BinaryIO, bool]]) -> Source:
    bare = Source(given.name or name or "", "", size, start)
    mime_type = given.mime_type or _sniffed(bare) or mimetypes.guess_type(bare.name)[0] or UNKNOWN
    return Source(bare.name or "upload" + (mimetypes.guess_extension(mime_type) or ""), mime_type, size, start)


def _sniffed(source: Source) -> str | None:
    with source.open() as file:
        head = file.read(16)
    return next((mime for mark, at, mime in _SIGNATURES if head[at : at + len(mark)] == mark), None)
