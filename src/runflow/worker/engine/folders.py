"""The base folder of an owned engine: its input, output and models, the plugin, the operator's own nodes and models.

ComfyUI's `--base-directory` moves all of these away from its own folder and hides what lies there. An operator who
names an existing ComfyUI expects its custom nodes and models to work: the nodes are linked, the models named as extra
paths.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path

from runflow.worker.engine.paths import inside, relative_path

PLUGIN_FOLDER = "ComfyUI-Runflow"
EXTRA_MODEL_PATHS = "extra_model_paths.yaml"
_WRITTEN_BY_ENGINE = ("input", "output", "temp", "user", "home", "tmp")
_FOLDERS = (*_WRITTEN_BY_ENGINE, "custom_nodes", "models")


def prepare_base(base: Path, comfy_dir: Path, plugin_dir: Path | None) -> list[str]:
    """Make the folders and links. Returns further arguments for main.py."""
    for name in _FOLDERS:
        (base / name).mkdir(parents=True, exist_ok=True)
    nodes = base / "custom_nodes"
    _link_nodes(comfy_dir / "custom_nodes", nodes)
    if plugin_dir is not None:
        link_or_copy(plugin_dir, nodes / PLUGIN_FOLDER)
    return _extra_models(comfy_dir / "models", base / EXTRA_MODEL_PATHS)


def link_or_copy(source: Path, place: Path) -> None:
    """Put a folder at a place: as a link, or as a copy where links cannot be made."""
    if place.is_symlink() and place.resolve() == source.resolve():
        return
    _remove(place)
    try:
        place.symlink_to(source.resolve(), target_is_directory=True)
    except OSError:
        shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))


def clean_run(base: Path, run_folder: str) -> None:
    """Remove what one run left in input, output and temp. Raises EngineError for a folder outside of them."""
    folder = relative_path(run_folder)
    for name in ("input", "output", "temp"):
        # Most runs have files in one of the three, and where links lead costs a look at every folder on the way.
        if os.path.lexists(base / name / folder):
            shutil.rmtree(inside(base / name, folder), ignore_errors=True)


def give_to(base: Path, uid: int) -> None:
    """Make another user the owner of the folders that the engine writes to; links are not followed.

    The base folder itself stays ours: whoever owns it could replace our lock, log and pid files by links.
    """
    for given in _WRITTEN_BY_ENGINE:
        os.lchown(base / given, uid, uid)
        for folder, folders, files in os.walk(base / given):
            for name in (*folders, *files):
                with contextlib.suppress(FileNotFoundError):
                    os.lchown(os.path.join(folder, name), uid, uid)  # noqa: PTH118 (os.walk speaks strings)


def copy_input(source: Path, inputs: Path, name: str, uid: int | None) -> None:
    """Copy a file into the input folder, making folders on the way; all of it belongs to the engine's user."""
    place = inside(inputs, name)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, place)
    if uid is not None:
        for path in (place, *place.parents):
            if path == inputs:
                break
            os.lchown(path, uid, uid)


def _link_nodes(theirs: Path, ours: Path) -> None:
    """Link each node folder of the ComfyUI, except our own plugin, which comes with us in the right version."""
    for entry in ours.iterdir():
        if entry.is_symlink() and entry.name != PLUGIN_FOLDER and not entry.exists():
            entry.unlink()
    if not theirs.is_dir() or theirs.resolve() == ours.resolve():
        return
    for entry in theirs.iterdir():
        is_node = entry.is_dir() or entry.suffix == ".py"
        skipped = entry.name.startswith((".", "__")) or entry.name.lower() == PLUGIN_FOLDER.lower()
        place = ours / entry.name
        if is_node and not skipped and not place.exists():
            place.unlink(missing_ok=True)
            place.symlink_to(entry.resolve())


def _extra_models(models: Path, path: Path) -> list[str]:
    folders = sorted(entry.name for entry in models.iterdir() if entry.is_dir()) if models.is_dir() else []
    if not folders:
        return []
    lines = [f"  {json.dumps(name)}: {json.dumps(str(models / name))}" for name in folders]
    path.write_text("comfyui:\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return ["--extra-model-paths-config", str(path)]


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
