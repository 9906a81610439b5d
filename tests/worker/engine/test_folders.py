"""The base folder: links to the operator's nodes and models, and our plugin."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from runflow.worker.engine.folders import PLUGIN_FOLDER, prepare_base


def test_the_operators_nodes_are_linked_but_never_their_copy_of_our_plugin(tmp_path: Path) -> None:
    comfy, base, plugin = tmp_path / "comfy", tmp_path / "base", tmp_path / "plugin"
    plugin.mkdir()
    for name in ("NodeA", "comfyui-runflow", "__pycache__", ".hidden"):
        (comfy / "custom_nodes" / name).mkdir(parents=True)
    (comfy / "custom_nodes/single.py").write_text("")
    (comfy / "custom_nodes/readme.txt").write_text("")
    assert prepare_base(base, comfy, plugin) == []
    nodes = base / "custom_nodes"
    assert {entry.name for entry in nodes.iterdir()} == {"NodeA", "single.py", PLUGIN_FOLDER}
    assert (nodes / PLUGIN_FOLDER).resolve() == plugin

    (comfy / "custom_nodes/NodeA").rmdir()
    (nodes / "Mine").mkdir()
    other = tmp_path / "other"
    other.mkdir()
    prepare_base(base, comfy, other)
    assert {entry.name for entry in nodes.iterdir()} == {"single.py", PLUGIN_FOLDER, "Mine"}
    assert (nodes / PLUGIN_FOLDER).resolve() == other


def test_the_operators_models_are_named_as_extra_paths(tmp_path: Path) -> None:
    comfy, base = tmp_path / 'com "fy', tmp_path / "base"
    (comfy / "models/checkpoints").mkdir(parents=True)
    (comfy / "models/loras").mkdir()
    flag, path = prepare_base(base, comfy, None)
    assert flag == "--extra-model-paths-config"
    text = Path(path).read_text()
    assert '"checkpoints": ' in text
    assert r"com \"fy/models/loras" in text


def modes(base: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: oct((base / name).stat().st_mode & 0o777) for name in names}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_other_users_enter_nothing_that_runs_use_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    base, private = tmp_path / "base", ("", "input", "output", "temp", "user", "home", "tmp")
    before = os.umask(umask)
    try:
        prepare_base(base, tmp_path / "none", None)
    finally:
        os.umask(before)
    assert set(modes(base, private).values()) == {"0o750"}


def test_a_link_among_the_folders_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "disk").mkdir(mode=0o755)
    (tmp_path / "base/output").symlink_to(tmp_path / "disk")
    prepare_base(tmp_path / "base", tmp_path / "none", None)
    assert (tmp_path / "disk").stat().st_mode & 0o777 == 0o755
