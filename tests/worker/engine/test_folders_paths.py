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
