import hashlib
import os
import threading
from pathlib import Path

import pytest

from plugin.cancellation import Cancelled
from plugin.manifest.hashes import Hashes
from plugin.private_file import write_private
from tests.support.catalogue import write


def test_a_file_is_hashed_once_until_it_changes(tmp_path: Path) -> None:
    file = write(tmp_path / "model", b"one" * 3_000_000)
    told: list[tuple[int, int]] = []
    expected = hashlib.sha256(file.read_bytes()).hexdigest()
    assert Hashes(tmp_path / "known.json").sha256(file, lambda done, total: told.append((done, total))) == expected
    assert told[-1] == (9_000_000, 9_000_000)
    assert len(told) > 1
    later = Hashes(tmp_path / "known.json")
    assert later.known(file) == expected
    assert later.sha256(file, lambda *_: pytest.fail("hashed again")) == expected
    os.utime(file, ns=(1, 1))
    assert later.known(file) is None
    write(file, b"two")
    assert later.sha256(file) == hashlib.sha256(b"two").hexdigest()


def test_a_cancelled_hash_is_not_remembered(tmp_path: Path) -> None:
    file = write(tmp_path / "model")
    cancelled = threading.Event()
    cancelled.set()
    hashes = Hashes(tmp_path / "known.json")
    with pytest.raises(Cancelled):
        hashes.sha256(file, None, cancelled)
    assert hashes.known(file) is None


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"x": 3}'])
def test_a_damaged_memory_is_forgotten(tmp_path: Path, content: bytes) -> None:
    file = write(tmp_path / "model")
    write(tmp_path / "known.json", content)
    assert Hashes(tmp_path / "known.json").sha256(file) == hashlib.sha256(b"x").hexdigest()


def test_private_files_are_private_and_whole(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    write_private(file, b"one")
    write_private(file, b"two")
    assert file.read_bytes() == b"two"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(OSError, match="secret"):
        write_private(tmp_path / "nowhere" / "secret", b"")
