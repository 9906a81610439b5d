"""The folders that packs get of their own: named without following links, and not more than a bound."""

import os
from pathlib import Path

import pytest

from runflow.worker.engine.isolation import pack_folders


def made(target: Path) -> list[str]:
    return sorted(str(Path(place).relative_to(target) / name) for place, names, _ in os.walk(target) for name in names)


def test_it_makes_what_the_packs_of_all_places_have_but_links_and_what_nobody_writes_to(tmp_path: Path) -> None:
    one, other, target = (tmp_path / name for name in ("one", "other", "target"))
    (one / "custom_nodes" / "a" / "js" / "x" / "too deep").mkdir(parents=True)
    (one / "custom_nodes" / "a" / ".git").mkdir()
    (one / "models").mkdir()
    (other / "custom_nodes" / "b").mkdir(parents=True)
    (other / "custom_nodes" / "linked").symlink_to(one)
    target.mkdir()
    pack_folders.make([str(one), str(other), str(tmp_path / "missing")], str(target), os.geteuid())
    names = ("", "/a", "/a/js", "/a/js/x", "/b")
    assert made(target) == [f"custom_nodes{name}" for name in names]


def test_of_very_many_it_makes_the_highest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / "from" / "custom_nodes" / name / "below").mkdir(parents=True)
    monkeypatch.setattr(pack_folders, "_MOST", 5)
    (tmp_path / "to").mkdir()
    pack_folders.make([str(tmp_path / "from")], str(tmp_path / "to"), os.geteuid())
    assert made(tmp_path / "to") == [f"custom_nodes{name}" for name in ("", "/a", "/a/below", "/b", "/c")]


def test_whoever_mounts_needs_none(tmp_path: Path) -> None:
    (tmp_path / "from" / "custom_nodes").mkdir(parents=True)
    (tmp_path / "to").mkdir()
    pack_folders.make([str(tmp_path / "from")], str(tmp_path / "to"), None)
    assert made(tmp_path / "to") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_files_that_others_wrote_are_given_and_links_are_not_followed(tmp_path: Path) -> None:
    pack = tmp_path / "custom_nodes" / "pack"
    pack.mkdir(parents=True)
    (tmp_path / "secret").write_text("s")
    (pack / "settings.json").write_text("{}")
    (pack / "link").symlink_to(tmp_path / "secret")
    pack_folders.give_files(str(tmp_path), str(tmp_path), 4321)
    assert (pack / "settings.json").stat().st_uid == 4321
    assert (tmp_path / "secret").stat().st_uid == 0
