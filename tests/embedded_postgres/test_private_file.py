import os
import stat
from pathlib import Path

import pytest

from runflow.embedded_postgres.private_file import open_private, read_private, write_private


def test_written_and_read_back_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, "one")
    write_private(path, "two")
    assert read_private(path) == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_is_none(tmp_path: Path) -> None:
    assert read_private(tmp_path / "secret") is None


def test_rights_of_others_are_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, "one")
    path.chmod(0o644)
    assert read_private(path) == "one"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_is_never_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("theirs")
    link = tmp_path / "secret"
    link.symlink_to(target)
    with pytest.raises(OSError, match="symbolic link"):
        read_private(link)
    with pytest.raises(OSError, match="symbolic link"):
        open_private(link, os.O_WRONLY)
    write_private(link, "ours")
    assert target.read_text() == "theirs"
    assert not link.is_symlink()


def test_a_failed_write_keeps_the_old_text(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, "one")
    with pytest.raises(UnicodeEncodeError):
        write_private(path, "\ud800")
    assert read_private(path) == "one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("as_root")
def test_root_leaves_files_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    write_private(folder / "secret", "one")
    assert (folder / "secret").stat().st_uid == 65534
