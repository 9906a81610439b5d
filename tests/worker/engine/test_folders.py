"""The base folder: links to the operator's nodes and models, our plugin, and nothing of a run left."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from runflow.worker.engine.base import EngineError
from runflow.worker.engine.folders import PLUGIN_FOLDER, clean_run, copy_input, give_to, prepare_base


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


def test_a_run_is_cleaned_without_touching_others(tmp_path: Path) -> None:
    prepare_base(tmp_path, tmp_path / "none", None)
    for kind in ("input", "output", "temp"):
        for run in ("runs/a", "runs/b"):
            (tmp_path / kind / run).mkdir(parents=True)
    clean_run(tmp_path, "runs/a")
    assert sorted(path.name for path in tmp_path.glob("*/runs/*")) == ["b", "b", "b"]


def test_a_link_that_an_engine_planted_is_not_followed(tmp_path: Path) -> None:
    prepare_base(tmp_path / "base", tmp_path / "none", None)
    (tmp_path / "precious/a").mkdir(parents=True)
    (tmp_path / "base/output/runs").symlink_to(tmp_path / "precious")
    with pytest.raises(EngineError, match="leads out"):
        clean_run(tmp_path / "base", "runs/a")
    assert (tmp_path / "precious/a").is_dir()


def modes(base: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: oct((base / name).stat().st_mode & 0o777) for name in names}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_other_users_enter_nothing_that_runs_use_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    base, private = tmp_path / "base", ("", "input", "output", "temp", "user", "home", "tmp")
    (tmp_path / "x").write_text("x")
    before = os.umask(umask)
    try:
        prepare_base(base, tmp_path / "none", None)
        copy_input(tmp_path / "x", base / "input", "runs/a/x", None)
    finally:
        os.umask(before)
    assert set(modes(base, (*private, "input/runs", "input/runs/a")).values()) == {"0o750"}
    assert modes(base, ["input/runs/a/x"]) == {"input/runs/a/x": "0o640"}


def test_what_was_open_to_others_before_is_closed_at_the_start(tmp_path: Path) -> None:
    base, precious = tmp_path / "base", tmp_path / "precious"
    for path in ("input/a/b", "output/a/b"):
        (base / path).mkdir(parents=True)
        (base / path / "x").write_text("x")
    precious.write_text("x")
    (base / "output/link").symlink_to(precious)
    (base / "output/twin").hardlink_to(precious)
    for opened in (base, *base.rglob("*")):
        opened.chmod(0o777)
    prepare_base(base, tmp_path / "none", None)
    folders = ("", "input", "input/a", "input/a/b", "output", "output/a", "output/a/b")
    assert set(modes(base, folders).values()) == {"0o750"}
    assert set(modes(base, ("input/a/b/x", "output/a/b/x")).values()) == {"0o750"}
    assert precious.stat().st_mode & 0o777 == 0o777, "what has a name elsewhere is not ours to change"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_the_engine_writes_is_its_own_and_what_we_write_is_not(tmp_path: Path) -> None:
    base = tmp_path / "base"
    prepare_base(base, tmp_path / "none", None)
    give_to(base, 61234)
    (tmp_path / "x").write_text("x")
    copy_input(tmp_path / "x", base / "input", "runs/a/x", 61234)
    owners = {str(path.relative_to(base)): path.lstat().st_uid for path in base.rglob("*")}
    assert {name for name, uid in owners.items() if uid == 0} == {"custom_nodes", "models"}
    assert (base.stat().st_uid, base.stat().st_gid, base.stat().st_mode & 0o777) == (0, 61234, 0o750)
