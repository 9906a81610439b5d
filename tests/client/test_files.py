"""What counts as a file, and what it is."""

import gzip
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runflow.client.files import File, is_file, source_of
from tests.support.uploading import picture


def test_text_and_numbers_are_no_files() -> None:
    others: list[object] = ["/etc/passwd", "", 1, 0.5, True, None, ["a"], {}]
    assert [value for value in others if is_file(value)] == []
    files: list[object] = [Path("a"), b"", bytearray(), memoryview(b""), io.BytesIO(), File("a.png")]
    assert [value for value in files if not is_file(value)] == []


def test_a_file_is_what_its_first_bytes_say(tmp_path: Path) -> None:
    for kind, mime in (("PNG", "image/png"), ("JPEG", "image/jpeg"), ("GIF", "image/gif"), ("WEBP", "image/webp")):
        assert source_of(picture(kind)).mime_type == mime
    path = tmp_path / "song.mp3"
    path.write_bytes(b"ID3")
    assert (source_of(path).mime_type, source_of(path).name, source_of(path).size) == ("audio/mpeg", "song.mp3", 3)
    unknown = source_of(b"abc")
    assert (unknown.mime_type, unknown.name.startswith("upload")) == ("application/octet-stream", True)
    named = source_of(File(b"abc", "a.txt", "text/x-mine"))
    assert (named.mime_type, named.name) == ("text/x-mine", "a.txt")
    assert source_of(File(str(path))).size == 3


def test_a_file_is_read_again_from_where_it_stood(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        file.seek(4)
        source = source_of(file)
        assert (source.size, source.name) == (6, "a.bin")
        assert b"".join(source.chunks()) == b"".join(source.chunks()) == b"456789"
        assert source.sha256() == source_of(b"456789").sha256()
        assert not file.closed and file.tell() == 4
        assert source_of(file).sha256() == source.sha256(), "also when it is given once more"
    inner = io.BytesIO(b"0123456789")
    inner.seek(4)
    assert [source_of(inner).sha256() for _ in range(2)] == [source_of(b"456789").sha256()] * 2
    assert inner.tell() == 4 and not inner.closed
    with gzip.open(path, "wb") as packed:
        packed.write(b"unpacked")
    with gzip.open(path) as packed:
        assert b"".join(source_of(packed).chunks()) == b"unpacked"
    path.write_bytes(b"0123456789" * 300_000)
    with path.open("rb") as file, ThreadPoolExecutor(8) as threads:
        sources = [source_of(file) for _ in range(8)]
        assert len({*threads.map(lambda one: one.sha256(), sources)}) == 1, "also by several at the same time"
    with path.open() as text, pytest.raises(TypeError, match="'rb'"):
        source_of(text)
    with pytest.raises(TypeError, match="int is no file"):
        source_of(3)
    with pytest.raises(FileNotFoundError):
        source_of(tmp_path / "none")


def test_what_can_be_read_only_once_is_kept() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"abc")
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123 - of a descriptor
        source = source_of(pipe)
    assert [*source.chunks()] == [*source.chunks()] == [b"abc"]
