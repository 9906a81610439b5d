"""No name that somebody else chose leads out of its folder."""

from pathlib import Path

import pytest

from runflow.worker.engine.base import EngineError
from runflow.worker.engine.folders import inside, relative_path


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "C:\\x", "a\\..\\x", "a\0b"])
def test_paths_that_leave_are_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be used"):
        relative_path(path)


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to(tmp_path)
    with pytest.raises(EngineError, match="leads out"):
        inside(tmp_path / "root", "link", "x")
    with pytest.raises(EngineError, match="leads out"):
        inside(tmp_path / "root", "", "")


def test_what_stays_inside_is_joined(tmp_path: Path) -> None:
    assert inside(tmp_path, "runs/a", "b\\c.png") == tmp_path / "runs/a/b/c.png"


def test_a_link_that_stays_inside_is_followed(tmp_path: Path) -> None:
    (tmp_path / "root/real").mkdir(parents=True)
    (tmp_path / "root/link").symlink_to(tmp_path / "root/real")
    assert inside(tmp_path / "root", "link", "x") == tmp_path / "root/link/x"


def test_a_folder_that_an_operator_made_a_link_is_used(tmp_path: Path) -> None:
    (tmp_path / "disk/a").mkdir(parents=True)
    (tmp_path / "root").symlink_to(tmp_path / "disk")
    assert inside(tmp_path / "root", "a") == tmp_path / "root/a"


def test_a_folder_that_becomes_a_link_leads_out(tmp_path: Path) -> None:
    for name in ("root", "elsewhere"):
        (tmp_path / name / "a").mkdir(parents=True)
    assert inside(tmp_path / "root", "a") == tmp_path / "root/a"
    (tmp_path / "root").rename(tmp_path / "gone")
    (tmp_path / "root").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineError, match="leads out"):
        inside(tmp_path / "root", "a")


@pytest.mark.parametrize("name", [".", "./.", "./"])
def test_the_folder_itself_is_no_place_inside(name: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="leads out"):
        inside(tmp_path, name)


def test_what_is_not_there_yet_and_what_is_behind_a_file_lead_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("a/b/c", "a/./b", "a//b", "file/x"):
        assert inside(tmp_path, name) == tmp_path / name
