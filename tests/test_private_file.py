"""A secret is written whole and for its owner alone, and a failure leaves what was there."""

import os
import stat
from pathlib import Path

import pytest

from runflow.private_file import make_private, write_private


def test_only_the_owner_reads_it_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "worker.token"
    write_private(path, "first\n")
    write_private(path, "second\n")
    assert path.read_text() == "second\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_secret_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    assert make_private(path, "first") and not make_private(path, "second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", [write_private, make_private])
def test_it_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: object
) -> None:
    path = tmp_path / "worker.token"
    synced: list[bool] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(path.exists())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    assert callable(write)
    write(path, "token")
    assert synced == [False, True], "first the file, then the folder that names it"


@pytest.mark.parametrize("write", [write_private, make_private])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: object) -> None:
    path = tmp_path / "worker.token"
    path.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert callable(write)
    with pytest.raises(OSError, match="No space"):
        write(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
