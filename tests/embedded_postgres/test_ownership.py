import os
from pathlib import Path

import pytest

from runflow.embedded_postgres import HomeUnusable
from runflow.embedded_postgres.ownership import LOCK, RECORD, OwnershipLock, ServerRecord, read_record, remove_record
from runflow.embedded_postgres.private_file import write_private


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    first, second = OwnershipLock(tmp_path), OwnershipLock(tmp_path)
    assert first.acquire()
    assert first.acquire()
    assert not second.acquire()
    assert second.holder() == str(os.getpid())
    first.release()
    assert second.acquire()
    second.release()
    second.release()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_does_not_hold_the_lock(tmp_path: Path) -> None:
    lock = OwnershipLock(tmp_path)
    assert lock.acquire()
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"x")
        os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    lock.release()
    other = OwnershipLock(tmp_path)
    try:
        assert other.acquire()
    finally:
        os.write(done[1], b"x")
        os.waitpid(child, 0)
        other.release()
        for descriptor in (*ready, *done):
            os.close(descriptor)


def test_a_lock_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HomeUnusable, match=r"postgres\.lock cannot be opened.*Start Runflow as the user"):
        OwnershipLock(tmp_path).acquire()


def test_the_record_is_read_back(tmp_path: Path) -> None:
    record = ServerRecord("/s", 5432, "u", "d", 1, 2)
    assert read_record(tmp_path) is None
    record.write(tmp_path)
    assert read_record(tmp_path) == record
    remove_record(tmp_path)
    remove_record(tmp_path)
    assert read_record(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"port": 1}', "7"])
def test_a_record_of_another_release_is_none(tmp_path: Path, text: str) -> None:
    write_private(tmp_path / RECORD, text)
    assert read_record(tmp_path) is None
