"""What a folder takes of the disk, and what goes where that is too much."""

import os
from functools import partial
from pathlib import Path

from runflow.worker.runtime.build.disk_use import Candidate, make_room, used_bytes

MIB = 1 << 20


def filled(path: Path, mib: int = 1) -> Path:
    """Write a file of so many MiB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(mib * MIB))
    return path


def test_a_file_counts_once_and_not_where_it_has_a_name_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    one = filled(folder / "a/one")
    (folder / "b").mkdir()
    os.link(one, folder / "b/one")
    assert MIB <= used_bytes(folder) < 2 * MIB
    assert used_bytes(folder / "a") < MIB, "its removal gives nothing back"
    os.link(filled(tmp_path / "elsewhere", 3), folder / "linked")
    (folder / "symlinked").symlink_to(tmp_path / "elsewhere")
    assert used_bytes(folder) < 2 * MIB
    assert used_bytes(tmp_path / "not there") == 0


def test_the_least_goes_first_and_no_more_than_has_to(tmp_path: Path) -> None:
    orders = {"three": 3.0, "one": 1.0, "two": 2.0, "four": 4.0}
    folder = tmp_path / "folder"
    for name in orders:
        filled(folder / name)
    asked: list[str] = []

    def remove(name: str) -> bool:
        asked.append(name)
        if name == "one":
            return False  # in use
        (folder / name).unlink()
        return True

    def candidates() -> list[Candidate]:
        found = [name for name in orders if (folder / name).exists()]
        return [Candidate(name, orders[name], partial(remove, name)) for name in found]

    make_room(folder, 5 * MIB, candidates)
    assert asked == []
    make_room(folder, 3 * MIB, candidates)
    assert asked == ["one", "two", "three"][: len(asked)]
    assert len(asked) >= 2
    make_room(folder, 0, candidates)
    assert asked[-1] == "four"
    assert (folder / "one").exists()
