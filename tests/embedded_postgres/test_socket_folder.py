import os
import stat
from pathlib import Path

import pytest

from runflow.embedded_postgres import HomeUnusable, socket_folder
from runflow.embedded_postgres.location import Location
from runflow.embedded_postgres.user import DatabaseUser

US = DatabaseUser(name="us", uid=os.geteuid(), gid=os.getegid(), switch=False)


def test_beside_the_data_and_the_same_every_time(tmp_path: Path) -> None:
    location = Location(home=tmp_path, folder=tmp_path)
    folder = socket_folder.prepare(location, US)
    assert folder == tmp_path / "postgres.socket"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.iterdir()) == []
    folder.rmdir()
    assert socket_folder.prepare(location, US) == folder


def test_a_long_path_goes_to_a_short_one(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 100)
    home.mkdir()
    folder = socket_folder.prepare(Location(home=home, folder=home), US)
    try:
        assert not folder.is_relative_to(home)
        assert len(os.fsencode(socket_folder.socket_path(folder))) <= 103
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert socket_folder.prepare(Location(home=home, folder=home), US) == folder
    finally:
        socket_folder.remove(folder)
    assert not folder.exists()


@pytest.mark.parametrize("what", ["open to others", "a link", "a file"])
def test_a_folder_that_is_not_ours_alone_is_left_alone(tmp_path: Path, what: str) -> None:
    taken = tmp_path / "postgres.socket"
    if what == "open to others":
        taken.mkdir()
        taken.chmod(0o755)
    elif what == "a link":
        (tmp_path / "target").mkdir(mode=0o700)
        taken.symlink_to(tmp_path / "target")
    else:
        taken.write_text("")
    before = taken.lstat()
    folder = socket_folder.prepare(Location(home=tmp_path, folder=tmp_path), US)
    try:
        assert folder != taken
        assert (taken.lstat().st_mode, taken.lstat().st_uid) == (before.st_mode, before.st_uid)
    finally:
        socket_folder.remove(folder)


@pytest.mark.usefixtures("as_root")
def test_a_name_taken_by_another_user_is_not_used(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    (tmp_path / "postgres.socket").mkdir(mode=0o700)
    os.chown(tmp_path / "postgres.socket", 65534, 65534)
    folder = socket_folder.prepare(Location(home=tmp_path, folder=tmp_path), US)
    try:
        assert folder.parent != tmp_path
    finally:
        socket_folder.remove(folder)


def test_no_usable_folder_names_each_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_folder, "_candidates", lambda location: iter([tmp_path / "missing" / "folder"]))
    with pytest.raises(HomeUnusable, match=r"missing/folder: No such file.*Choose a RUNFLOW_HOME with a short path"):
        socket_folder.prepare(Location(home=tmp_path, folder=tmp_path), US)


def test_what_a_killed_server_left_is_cleared(tmp_path: Path) -> None:
    for name in (".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
        (tmp_path / name).touch()
    socket_folder.clear(tmp_path)
    socket_folder.clear(tmp_path)
    assert list(tmp_path.iterdir()) == []
