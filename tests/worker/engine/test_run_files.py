"""The files of runs: placed in folders of their own, delivered to their own run, gone when no run needs them."""

import os
import stat
import time
from pathlib import Path

import pytest

from runflow.worker.engine import boundary, run_files
from runflow.worker.engine.base import EngineError, FileMissing, OutputRef
from runflow.worker.engine.boundary import Budget
from runflow.worker.engine.run_files import FOLDERS, RunFiles, Usage


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "engine"


@pytest.fixture
def files(root: Path) -> RunFiles:
    files = RunFiles(root, uid=None)
    files.make()
    return files


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    (tmp_path / "photo.png").write_bytes(b"a photo")
    return tmp_path / "photo.png"


def left(root: Path) -> list[str]:
    """What lies in the engine's folders, empty folders too."""
    return sorted(str(path.relative_to(root)) for path in root.glob("*/**/*") if not path.is_dir() or path.is_symlink())


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_other_users_enter_nothing_that_runs_use_whatever_the_umask(root: Path, photo: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        files = RunFiles(root, uid=None)
        files.make()
        assert files.place_input("runs/a", "b/in.png", photo) == "runs/a/b/in.png"
    finally:
        os.umask(before)
    folders = (".", *FOLDERS, "input/runs", "input/runs/a", "input/runs/a/b")
    assert {oct((root / name).stat().st_mode) for name in folders} == {oct(stat.S_IFDIR | 0o750)}
    assert (root / "input/runs/a/b/in.png").stat().st_mode == stat.S_IFREG | 0o640
    assert (root / "input/runs/a/b/in.png").read_bytes() == b"a photo"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_the_engine_writes_is_its_own_and_what_lies_beside_it_is_not(root: Path, photo: Path) -> None:
    files = RunFiles(root, uid=61234)
    files.make()
    files.place_input("runs/a", "in.png", photo)
    (root / "engine.lock").touch()
    owners = {str(path.relative_to(root)): path.lstat().st_uid for path in root.rglob("*")}
    assert {name for name, uid in owners.items() if uid == 0} == {"engine.lock"}
    assert (root.stat().st_uid, root.stat().st_gid) == (0, 61234)
    assert photo.stat().st_uid == 0


def test_a_node_that_swaps_the_input_folder_for_a_link_gets_nothing_written_elsewhere(
    files: RunFiles, root: Path, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "precious").mkdir()
    (root / "input/runs").symlink_to(tmp_path / "precious")
    files.place_input("runs/a", "in.png", photo)
    assert (root / "input/runs/a/in.png").read_bytes() == b"a photo"

    (root / "input/runs/a").rename(root / "input/mine")
    (root / "input/runs/a").symlink_to(tmp_path / "precious")
    files.place_input("runs/a", "two.png", photo)
    assert (root / "input/runs/a/two.png").read_bytes() == b"a photo"

    (root / "input").rename(root / "gone")
    (root / "input").symlink_to(tmp_path / "precious")
    with pytest.raises(EngineError, match="a node replaced it"):
        files.place_input("runs/a", "three.png", photo)
    assert list((tmp_path / "precious").iterdir()) == []


def test_a_folder_that_a_node_made_for_a_run_to_come_is_not_used(files: RunFiles, root: Path, photo: Path) -> None:
    write(root, "input/runs/a/trap.png", "input/runs/a/in.png")
    files.place_input("runs/a", "in.png", photo)
    files.place_input("runs/a", "two.png", photo)
    assert sorted(path.name for path in (root / "input/runs/a").iterdir()) == ["in.png", "two.png"]


@pytest.mark.parametrize(("run", "name"), [("../up", "x"), ("runs/a", "../../x"), ("/etc", "x"), ("runs/a", "C:\\x")])
def test_no_name_leaves_the_folder(files: RunFiles, photo: Path, run: str, name: str) -> None:
    with pytest.raises(EngineError, match="cannot be used"):
        files.place_input(run, name, photo)


def test_an_output_is_opened_where_it_lies(files: RunFiles, root: Path) -> None:
    write(root, "output/runs/a/x.png", "temp/y.png")
    with files.open_output(OutputRef("x.png", "runs\\a")) as opened:
        assert (opened.name, opened.read(100, 0)) == ("x.png", b"output/runs/a/x.png")
    with files.open_output(OutputRef("y.png", "", "temp")) as opened:
        assert opened.size_bytes == len("temp/y.png")


def test_what_cannot_be_an_output_is_refused_with_a_sentence(files: RunFiles, root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "output/link").symlink_to(tmp_path / "secret")
    os.mkfifo(root / "output/pipe")
    for reference, words in (
        (OutputRef("nope.png"), "has no file nope.png in its output folder"),
        (OutputRef("link"), "It is a link"),
        (OutputRef("pipe"), "It is a named pipe, not a plain file"),
        (OutputRef("."), "It is a folder"),
    ):
        with pytest.raises(FileMissing, match=words):
            files.open_output(reference)
    for reference, words in (
        (OutputRef("secret", "../.."), "cannot be used"),
        (OutputRef("passwd", "/etc"), "cannot be used"),
        (OutputRef("x", "", "user"), "unknown folder"),
    ):
        with pytest.raises(EngineError, match=words):
            files.open_output(reference)


def test_a_sparse_file_of_100_gb_costs_nothing_to_look_at(files: RunFiles, root: Path) -> None:
    with (root / "output/x.png").open("wb") as sparse:
        sparse.truncate(100 * 10**9)
    with files.open_output(OutputRef("x.png")) as opened:
        assert opened.size_bytes == 100 * 10**9
    assert files.usage().size_bytes < 10**6


def test_a_run_goes_with_all_that_it_left_and_others_stay(files: RunFiles, root: Path) -> None:
    for run in ("runs/a", "runs/b"):
        files.begin(run)
        write(root, *(f"{kind}/{run}/x" for kind in ("input", "output", "temp")))
    files.clean("runs/a")
    assert left(root) == ["input/runs/b/x", "output/runs/b/x", "temp/runs/b/x"]


def test_what_a_run_left_beside_its_folder_goes_when_no_run_is_here(files: RunFiles, root: Path) -> None:
    write(root, "output/made/at/import.txt", "user/comfyui.db", "home/.cache/model", "input/3d/.keep")
    files.begin("runs/a")
    write(root, "output/foo_00001_.png", "output/sub/deep/er/x.png", "output/made/x.png", "temp/preview.png")
    write(root, "input/pasted.png", "output/runs/late/x.png", "user/settings.json", "tmp/new")
    (root / "output/link").symlink_to("/etc")
    os.mkfifo(root / "temp/pipe")
    files.clean("runs/a")
    kept = ["home/.cache/model", "input/3d/.keep", "output/made/at/import.txt", "tmp/new"]
    assert left(root) == [*kept, "user/comfyui.db", "user/settings.json"]
    assert not (root / "output/sub").exists()


def test_nothing_goes_that_a_run_that_is_here_may_have_written(
    files: RunFiles, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One rule: a file beside the folders of runs goes once every run that was here when it was changed has ended."""
    clock = [0.0, 0.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    monkeypatch.setattr(time, "monotonic", lambda: clock[1])

    def at(seconds: float) -> None:
        clock[:] = [start + seconds, 1000 + seconds]

    start = (root / "output").stat().st_ctime  # files get the time of this machine's clock: now
    at(-100)
    files.begin("runs/a")
    at(-50)
    files.begin("runs/b")
    write(root, "output/foo_00001_.png")
    files.clean("runs/a")
    assert left(root) == ["output/foo_00001_.png"], "b is here and may have written it"
    at(+50)
    files.begin("runs/c")
    files.clean("runs/b")
    assert left(root) == [], "c came when it was there"


def test_a_clock_that_was_set_removes_nothing_of_a_run_that_is_here(
    files: RunFiles, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.begin("runs/a")
    files.begin("runs/b")
    write(root, "output/x.png")
    back = time.time() + 7200
    monkeypatch.setattr(time, "time", lambda: back)
    files.clean("runs/a")
    assert left(root) == ["output/x.png"]
    files.clean("runs/b")
    assert left(root) == []


def test_a_run_that_comes_while_its_predecessors_leavings_go_keeps_what_it_writes(
    files: RunFiles, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.begin("runs/a")
    write(root, *(f"output/left/{number}" for number in range(20)))
    really, seen = boundary.Folder.unlink, list[str]()

    def unlink(folder: boundary.Folder, name: str) -> None:
        really(folder, name)
        seen.append(name)
        if len(seen) == 5:
            assert not files.begin("runs/b", wait=False), "one file is being removed"
            monkeypatch.setattr(files, "_active", {"runs/b": None})

    monkeypatch.setattr(boundary.Folder, "unlink", unlink)
    files.clean("runs/a")
    assert len(seen) == 5
    assert len(left(root)) == 15


def test_old_files_in_tmp_go_and_what_libraries_keep_there_stays(
    files: RunFiles, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, "tmp/at-import")
    files.begin("runs/a")
    write(root, "tmp/frames/1", "tmp/video.mp4", "tmp/torchinductor_me/x", "tmp/pymp-1/x")
    files.clean("runs/a")
    assert len(left(root)) == 5
    later = time.time() + run_files.TMP_SECONDS + 10
    monkeypatch.setattr(time, "time", lambda: later)
    files.clean("runs/a")
    assert left(root) == ["tmp/at-import", "tmp/pymp-1/x", "tmp/torchinductor_me/x"]


def test_a_link_in_the_place_of_the_runs_folders_is_not_followed(files: RunFiles, root: Path, tmp_path: Path) -> None:
    write(tmp_path, "precious/a/x")
    files.begin("runs/a")
    (root / "output/runs").symlink_to(tmp_path / "precious")
    (root / "temp/runs").mkdir()
    (root / "temp/runs/a").symlink_to(tmp_path / "precious")
    files.clean("runs/a")
    assert left(root) == []
    assert (tmp_path / "precious/a/x").exists()


def test_a_life_ends_with_everything_gone(files: RunFiles, root: Path) -> None:
    write(root, *(f"{name}/a/b/x" for name in FOLDERS), "engine.lock")
    (root / "home/closed").mkdir(mode=0)
    held = os.open(root / "output", os.O_RDONLY)
    try:
        assert files.clean_all()
        assert sorted(path.name for path in root.iterdir()) == ["engine.lock"]
        files.make()
        with pytest.raises(FileNotFoundError):  # a process of the former life that has the folder open
            os.open("x", os.O_WRONLY | os.O_CREAT, dir_fd=held)
    finally:
        os.close(held)
    assert RunFiles(root / "nowhere", uid=None).clean_all()


def test_what_the_folders_take_is_counted_as_far_as_it_goes(files: RunFiles, root: Path, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(10**6))
    (root / "home/link").symlink_to(tmp_path)
    write(root, "home/a/b/x", "user/y")
    (root / "output/z").write_bytes(bytes(300_000))
    found = files.usage()
    assert found.is_whole
    assert found.entries == 6
    assert 300_000 <= found.size_bytes < 600_000
    assert not files.usage(Budget(entries=2)).is_whole
    held = os.open(root / "tmp", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=held)
        below = os.open("d", os.O_RDONLY, dir_fd=held)
        os.close(held)
        held = below
    os.close(held)
    assert not files.usage().is_whole, "what is deeper than a path can say may be large"
    assert files.clean_all()
    assert files.usage() == Usage(0, 0, is_whole=True)
