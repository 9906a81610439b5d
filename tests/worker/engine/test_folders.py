"""The base folder: links to the operator's nodes and models, our plugin, and nothing of a run left."""

from pathlib import Path

from runflow.worker.engine.folders import PLUGIN_FOLDER, clean_run, prepare_base


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
    clean_run(tmp_path, Path("runs/a"))
    assert sorted(path.name for path in tmp_path.glob("*/runs/*")) == ["b", "b", "b"]
