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


def test_what_lies_on_top_decides_what_a_folder_is(tmp_path: Path) -> None:
    top, below, target = (tmp_path / name for name in ("top", "below", "target"))
    (top / "custom_nodes" / "real").mkdir(parents=True)
    for name in ("linked", "removed", "real", "below"):
        (below / "custom_nodes" / name / "sub").mkdir(parents=True)
    (top / "custom_nodes" / "linked").symlink_to(below)
    (top / "custom_nodes" / "removed").write_text("")  # what an overlay leaves is no folder either
    target.mkdir()
    pack_folders.make([str(top), str(below)], str(target), os.geteuid())
    assert made(target) == [f"custom_nodes{one}" for one in ("", "/below", "/below/sub", "/real", "/real/sub")]


@pytest.mark.parametrize("kind", ["link", "file", "nothing"])
def test_packs_that_lie_elsewhere_stay_where_they_are(tmp_path: Path, kind: str) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "elsewhere" / "pack").mkdir(parents=True)
    nodes = tmp_path / "from" / "custom_nodes"
    if kind == "link":
        nodes.symlink_to(tmp_path / "elsewhere")
    elif kind == "file":
        nodes.write_text("")
    (tmp_path / "to").mkdir()
    assert pack_folders.make([str(tmp_path / "from")], str(tmp_path / "to"), os.geteuid()) == []
    assert made(tmp_path / "to") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_small_files_that_others_wrote_are_given_and_links_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = tmp_path / "custom_nodes" / "pack"
    pack.mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "s").write_text("s")
    (pack / "settings.json").write_text("{}")
    (pack / "link").symlink_to(tmp_path / "secret" / "s")
    (pack / "way").symlink_to(tmp_path / "secret")
    (pack / "large").write_text("x" * 11)
    monkeypatch.setattr(pack_folders, "_MOST_FILE_BYTES", 10)
    names = ["custom_nodes/pack", "custom_nodes/pack/way", "custom_nodes/missing"]
    pack_folders.give_files(str(tmp_path), str(tmp_path), names, 4321)
    assert (pack / "settings.json").stat().st_uid == 4321
    assert ((tmp_path / "secret" / "s").stat().st_uid, (pack / "large").stat().st_uid) == (0, 0)
    assert (pack / "link").lstat().st_uid == 0
