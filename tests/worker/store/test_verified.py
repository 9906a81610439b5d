"""What is remembered of files that were read, and when that is not to be believed."""

import hashlib
import mmap
import os
from pathlib import Path

import pytest

from runflow.worker.store.verified import VerifiedFiles

PAGE = b"A" * mmap.PAGESIZE


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.write_bytes(PAGE)
    return path


def test_a_file_is_known_until_it_is_written_to(model: Path) -> None:
    files = VerifiedFiles()
    assert files.recall(model) is None
    sha256 = files.read(model)
    assert files.recall(model) == sha256 == hashlib.sha256(PAGE).hexdigest()
    model.write_bytes(b"other")
    assert files.recall(model) is None


def test_a_name_of_ours_leaves_it_known_and_another_one_does_not(model: Path) -> None:
    files = VerifiedFiles()
    sha256 = files.read(model)
    with model.open("rb") as file, files.names_change(file.fileno()):
        os.link(model, model.with_name("ours"))
    assert files.recall(model) == sha256
    os.link(model, model.with_name("theirs"))
    assert files.recall(model) is None


def test_nothing_is_believed_while_an_owner_may_write_without_a_trace(model: Path) -> None:
    is_safe = False
    files = VerifiedFiles(lambda: is_safe)
    with model.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[0:1] = b"A"
        sha256 = files.read(model)
        mapped[0:1] = b"B"
        assert files.recall(model) is None
        assert files.read(model) != sha256
        is_safe = True
        assert files.recall(model) is None, "nor later what was read then"
