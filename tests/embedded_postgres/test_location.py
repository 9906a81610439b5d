import os
import stat
from pathlib import Path

import pytest

from runflow.embedded_postgres import HomeUnusable, binaries
from runflow.embedded_postgres.location import RECORD, Location, make_home, recorded, settle


@pytest.fixture
def system_root(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(binaries, "SYSTEM_ROOT", home.parent / "system")
    return home.parent / "system"


def test_an_existing_home_keeps_its_mode(home: Path) -> None:
    home.mkdir()
    home.chmod(0o755)
    make_home(home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o755


def test_a_new_home_cannot_be_listed_by_others(home: Path) -> None:
    make_home(home)
    assert stat.S_IMODE(home.stat().st_mode) & 0o066 == 0


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeUnusable, match=r"file/home \(RUNFLOW_HOME\) cannot be made"):
        make_home(tmp_path / "file" / "home")


def test_data_lives_in_a_home_that_can_be_reached(home: Path, system_root: Path) -> None:
    make_home(home)
    _, location = settle(home)
    assert location == Location(home=home, folder=home)
    assert not system_root.exists()
    assert not (home / RECORD).exists()


@pytest.mark.usefixtures("as_root")
def test_data_of_a_closed_home_lives_elsewhere_for_good(home: Path, system_root: Path) -> None:
    home.mkdir(mode=0o700)
    _, location = settle(home)
    assert location.folder.parent == system_root
    assert (location.folder / "home").read_text() == f"{home}\n"
    assert settle(home)[1] == location
    home.chmod(0o711)
    assert settle(home)[1] == location
    assert stat.S_IMODE(home.parent.stat().st_mode) == 0o711


@pytest.mark.usefixtures("as_root", "system_root")
def test_lost_data_is_not_replaced_by_an_empty_database(home: Path) -> None:
    home.mkdir(mode=0o700)
    _, location = settle(home)
    location.created()
    with pytest.raises(HomeUnusable, match=r"is gone\. Put it back from a backup"):
        settle(home)


@pytest.mark.usefixtures("as_root", "system_root")
def test_a_home_that_was_closed_later_names_the_command(home: Path) -> None:
    make_home(home)
    user, location = settle(home)
    location.data.mkdir()
    os.chown(location.data, user.uid, user.gid)
    home.chmod(0o700)
    with pytest.raises(HomeUnusable, match=r"cannot reach the data folder.*chmod o\+x"):
        settle(home)


@pytest.mark.parametrize("text", ["", "[]", '{"folder": 1}', '{"folder": "/x"}'])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(HomeUnusable, match=r"postgres\.location.* is damaged"):
        recorded(tmp_path)


def test_two_data_folders_have_two_cluster_names() -> None:
    names = {Location(home=Path(path), folder=Path(path)).cluster_name for path in ("/a", "/b")}
    assert len(names) == 2
    assert all(len(name) < 64 for name in names)
