"""What a worker lays into an engine's home: links that stay inside the engine's folder, and short texts."""

import os
from pathlib import Path

import pytest

from runflow.worker.engine.home_files import HomeFiles
from runflow.worker.engine.run_files import RunFiles

FILES = HomeFiles({"home/.cache/a/b": "models/x", "home/c": "home/.cache/a/b"}, {"home/d/e": "text"})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "engine/models").mkdir(parents=True)
    (tmp_path / "engine/models/x").write_text("content")
    return tmp_path / "engine"


def test_links_lead_to_their_targets_wherever_the_folder_is_seen(root: Path) -> None:
    files = RunFiles(root, uid=None)
    files.make()
    files.lay_home(FILES)
    elsewhere = root.with_name("as-seen-inside")
    root.rename(elsewhere)
    assert (elsewhere / "home/c").read_text() == "content"
    assert (elsewhere / "home/d/e").read_text() == "text"
    assert os.readlink(elsewhere / "home/.cache/a/b") == "../../../models/x"  # noqa: PTH115


def test_what_is_laid_is_not_touched_again_while_it_is_there(root: Path) -> None:
    files = RunFiles(root, uid=None)
    files.make()
    files.lay_home(FILES)
    before = (root / "home/c").lstat().st_ino
    files.lay_home(FILES)
    assert (root / "home/c").lstat().st_ino == before
    files.lay_home(HomeFiles({"home/c": "models/x"}))
    assert (root / "home/c").readlink() == Path("../models/x")


def test_an_engine_that_begins_anew_gets_them_again(root: Path) -> None:
    files = RunFiles(root, uid=None)
    files.make()
    files.lay_home(FILES)
    assert files.clean_all()
    files.make()
    files.lay_home(FILES)
    assert (root / "home/c").read_text() == "content"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_they_belong_to_the_engine_s_user(root: Path) -> None:
    files = RunFiles(root, uid=64_738)
    files.make()
    files.lay_home(FILES)
    for path in (".cache", ".cache/a", ".cache/a/b", "c", "d", "d/e"):
        assert (root / "home" / path).lstat().st_uid == 64_738, path
