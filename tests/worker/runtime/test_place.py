"""A tree comes into its folder whole, and what its user keeps there stays."""

from pathlib import Path

from runflow.worker.runtime.place import place_tree


def make(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def listing(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_a_newer_tree_replaces_the_older_and_keeps_the_users_files(tmp_path: Path) -> None:
    directory, remembered = tmp_path / "comfy", tmp_path / "placed.json"
    directory.mkdir()
    place_tree(make(tmp_path / "old", main="1", gone="1", models__put="1", comfy__a="1"), directory, remembered)
    make(directory, models__mine="my model", custom_nodes__node="my node", notes="my notes", models__put="changed")
    place_tree(make(tmp_path / "new", main="2", models__put="2", models__more="2", comfy__b="2"), directory, remembered)
    assert listing(directory) == {
        "main": "2",
        "comfy/b": "2",
        "models/put": "changed",
        "models/more": "2",
        "models/mine": "my model",
        "custom_nodes/node": "my node",
        "notes": "my notes",
    }


def test_a_placing_that_was_killed_half_way_is_repeated(tmp_path: Path) -> None:
    directory, remembered = tmp_path / "comfy", tmp_path / "placed.json"
    make(directory, comfy__old="1")
    remembered.write_text('["comfy", "gone"]')
    make(directory, gone="1")
    place_tree(make(tmp_path / "new", comfy__new="2"), directory, remembered)
    assert listing(directory) == {"comfy/new": "2"}
