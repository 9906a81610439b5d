"""The base folder of an owned engine: its input, output and models, the plugin, the operator's own nodes and models.

ComfyUI's `--base-directory` moves all of these away from its own folder and hides what lies there. An operator who
names an existing ComfyUI expects its custom nodes and models to work: the nodes are linked, the models named as extra
paths.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from runflow.graph.media import path_fault
from runflow.worker.engine.base import EngineError
from runflow.worker.engine.boundary import Folder

PLUGIN_FOLDER = "ComfyUI-Runflow"
EXTRA_MODEL_PATHS = "extra_model_paths.yaml"
LIVES = "lives"
"""Below the base folder: where each engine has its folder, if a sandbox gives it one."""
PLACED_MODELS = "placed-models.json"
"""Beside `models`: the paths of what was placed there, where engines use one folder after the other."""
_WRITTEN_BY_ENGINE = ("input", "output", "temp", "user", "home", "tmp")
_FOLDERS = (*_WRITTEN_BY_ENGINE, "custom_nodes", "models")


def home_folder() -> Path | None:
    """Return the home of this user, None for a user id that has none, as in a container."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def prepare_base(
    base: Path, comfy_dir: Path, plugin_dir: Path | None, more_models: Sequence[tuple[str, Path]] = ()
) -> list[str]:
    """Make the folders and links. Returns further arguments for main.py.

    `more_models` are kind and folder of models beside those of the ComfyUI.
    What runs read and write is nobody else's to see: other users of the machine cannot enter, whatever the umask says
    and whoever made the folders before. A person's own base may have a link among them, to another disk.
    """
    for name in _FOLDERS:
        (base / name).mkdir(parents=True, exist_ok=True)
    with Folder.at(base.resolve()) as held:
        held.let_in(None)
        for name in _WRITTEN_BY_ENGINE:
            with contextlib.suppress(OSError), held.folder(name) as folder:
                folder.let_in(None)
    nodes = base / "custom_nodes"
    _link_nodes(comfy_dir / "custom_nodes", nodes)
    if plugin_dir is not None:
        link_or_copy(plugin_dir, nodes / PLUGIN_FOLDER)
    return _extra_models([*own_models(comfy_dir), *more_models], base / EXTRA_MODEL_PATHS)


def placed_before(base: Path) -> list[str]:
    """Return the paths of models that were placed in the base folder, for an engine that may be gone."""
    try:
        known = json.loads((base / PLACED_MODELS).read_bytes())
    except (OSError, ValueError):
        return []
    return [path for path in known if isinstance(path, str)] if isinstance(known, list) else []


def clear_placed(base: Path) -> None:
    """Take away the models that were placed for an earlier engine: the next one has others, or none."""
    for path in placed_before(base):
        take_away(base / "models", path)
    (base / PLACED_MODELS).unlink(missing_ok=True)


def take_away(models: Path, path: str) -> None:
    """Remove a file below a folder of models; what is not there, or leads elsewhere, stays."""
    above, _, name = path.rpartition("/")
    with (
        contextlib.suppress(OSError, ValueError),
        Folder.at(models.resolve()) as held,
        held.folder(above) if above else contextlib.nullcontext(held) as below,
    ):
        below.unlink(name)


def link_or_copy(source: Path, place: Path) -> None:
    """Put a folder at a place: as a link, or as a copy where links cannot be made."""
    if place.is_symlink() and place.resolve() == source.resolve():
        return
    _remove(place)
    try:
        place.symlink_to(source.resolve(), target_is_directory=True)
    except OSError:
        shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))


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


def own_models(comfy_dir: Path) -> list[tuple[str, Path]]:
    """Return kind and folder of what lies in a ComfyUI's `models`."""
    models = comfy_dir / "models"
    folders = sorted(entry for entry in models.iterdir() if entry.is_dir()) if models.is_dir() else []
    return [(folder.name, folder) for folder in folders]


def _extra_models(folders: list[tuple[str, Path]], path: Path) -> list[str]:
    if not folders:
        return []
    kinds: dict[str, list[str]] = {}
    for kind, folder in folders:
        kinds.setdefault(kind, []).append(str(folder))
    lines = [f"  {json.dumps(kind)}: {json.dumps(chr(10).join(places))}" for kind, places in kinds.items()]
    path.write_text("comfyui:\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return ["--extra-model-paths-config", str(path)]


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


_LONGEST = 400
_LINES = 3
_MOST_CHARACTERS = 20_000
_TRACEBACK = re.compile(r"Traceback \(most recent call last\):.*", re.DOTALL)
_TENSOR = re.compile(r"\b(tensor|array)\(.*", re.DOTALL)
_OBJECT = re.compile(r"<([\w.]+)(?: object)?[^<>]* at 0x[0-9a-fA-F]+>")
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
_WINDOWS_PATH = re.compile(r"""(?<![\w])[A-Za-z]:[\\/](?:[^\s'"<>|:*?]+[\\/])*([^\s'"<>|:*?\\/]*)""")
_POSIX_PATH = re.compile(r"""(?<![\w:/.~])~?/(?:[^\s'"<>|:,;()\[\]]+/)*([^\s'"<>|:,;()\[\]/]*)""")
_SPACES = re.compile(r"\s+")


def clean(text: object, hidden: tuple[str, ...] = ()) -> str:
    """Return the telling part of an error text in one line of at most 400 characters.

    `hidden` are folders of this machine; they are taken out first, whatever characters they contain. Of any other
    absolute path only the last part stays.
    """
    # A node can raise a text of any length, and these patterns look at each character many times.
    said = _TRACEBACK.sub("", str(text)[:_MOST_CHARACTERS])
    for folder in sorted((folder.rstrip("/\\") for folder in hidden), key=len, reverse=True):
        if folder:
            said = said.replace(folder + "/", "").replace(folder + "\\", "").replace(folder, "…")
    said = _OBJECT.sub(r"<\1>", _CREDENTIALS.sub("", said))
    said = _ADDRESS.sub("…", _TENSOR.sub(r"\1(…)", said))
    said = _POSIX_PATH.sub(r"\1", _WINDOWS_PATH.sub(r"\1", said))
    lines = [line.strip(" *\t") for line in said.splitlines()]
    line = _SPACES.sub(" ", " ".join([line for line in lines if line][:_LINES])).strip()
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1].rstrip() + "…"


def relative_path(path: str) -> str:
    """Return a relative path with forward slashes. Raises EngineError for one that would leave its folder."""
    fault = path_fault(path)
    if fault is not None:
        raise EngineError(f"The path {path!r} cannot be used for a file of a run: {fault}.")
    return path.replace("\\", "/")
