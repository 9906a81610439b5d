"""Putting the plugin into a ComfyUI's custom_nodes folder, as a copy or as a link to where it is now."""

import os
import shutil
import uuid
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import runflow

FOLDER_NAME = "ComfyUI-Runflow"
"""Folder of the plugin inside custom_nodes."""

MARKER = ".runflow-plugin"
"""File in a copy that we made: it may be replaced. Holds the version of the platform that made it."""

# ComfyUI does not load folders with this ending, so a half-made copy never becomes a second plugin.
_NOT_LOADED = ".disabled"


class PluginInstallError(Exception):
    """The plugin was not installed and nothing was changed; the message says why and what to do."""


class Action(StrEnum):
    """What an installation did."""

    COPIED = "copied"
    LINKED = "linked"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Installed:
    """Where the plugin is now, where it came from, and what was done."""

    target: Path
    source: Path
    action: Action


def plugin_source() -> Path:
    """The plugin's files: inside the installed package, or in the clone that the package runs from.

    Raises:
        PluginInstallError: neither is there.
    """
    package = Path(runflow.__file__).resolve().parent
    for folder in (package / "_plugin", package.parents[1] / "plugin"):
        if _holds_plugin(folder):
            return folder
    raise PluginInstallError(
        f"The plugin's files are missing next to {package}. Install comfyui-runflow again, or use a clone."
    )


def install_plugin(comfyui_dir: Path, *, link: bool = False) -> Installed:
    """Install the plugin into `comfyui_dir/custom_nodes/ComfyUI-Runflow`; safe to repeat.

    A copy or link of ours that is already there is replaced. A git clone, or anything else that we did not make, is
    left alone. ComfyUI loads the plugin at its next start.

    Args:
        comfyui_dir: ComfyUI's own folder, or the folder it is started with as --base-directory.
        link: make a symbolic link, so that changes of the source are live at ComfyUI's next start.

    Raises:
        PluginInstallError: no ComfyUI there, something else in the way, or the file system refuses.
    """
    source = plugin_source()
    target = _custom_nodes(comfyui_dir) / FOLDER_NAME
    _refuse_second_plugin(target)
    existed = os.path.lexists(target)
    if existed:
        if link and target.is_symlink() and target.resolve() == source:
            return Installed(target, source, Action.UNCHANGED)
        _refuse_foreign(target, source)
    try:
        _place(source, target, link=link)
    except OSError as error:
        hint = "Install without --link to make a copy." if link else "Check the folder's permissions and free space."
        raise PluginInstallError(f"Cannot write {target}: {error.strerror or error}. {hint}") from error
    return Installed(target, source, Action.UPDATED if existed else Action.LINKED if link else Action.COPIED)


def _holds_plugin(folder: Path) -> bool:
    return all((folder / part).is_file() for part in ("__init__.py", "nodes/inputs.py", "graph/runflow_nodes.py"))


def _custom_nodes(comfyui_dir: Path) -> Path:
    folder = comfyui_dir.expanduser()
    if not folder.is_dir():
        raise PluginInstallError(f"{folder} is not a folder. Name the folder that holds ComfyUI's main.py.")
    folder = folder.resolve()
    custom_nodes = folder if folder.name == "custom_nodes" else folder / "custom_nodes"
    if custom_nodes.is_dir():
        return custom_nodes
    if (folder / "main.py").is_file() and (folder / "folder_paths.py").is_file():
        custom_nodes.mkdir()
        return custom_nodes
    raise PluginInstallError(
        f"{folder} is not a ComfyUI: it has neither a custom_nodes folder nor main.py and folder_paths.py. "
        "Name the folder that holds ComfyUI's main.py."
    )


def _refuse_second_plugin(target: Path) -> None:
    for other in target.parent.iterdir():
        if other.name == target.name or other.name.endswith(_NOT_LOADED):
            continue
        if _holds_plugin(other) or _holds_plugin(other / "plugin"):
            raise PluginInstallError(
                f"{other} already holds this plugin under another name; ComfyUI would load both. Remove it first."
            )


def _refuse_foreign(target: Path, source: Path) -> None:
    if target.is_symlink():
        points_to = target.resolve()
        if points_to == source or _holds_plugin(points_to) or not points_to.exists():
            return
        raise PluginInstallError(f"{target} is a link to {points_to}, which is not this plugin. Remove the link first.")
    if (target / ".git").exists():
        raise PluginInstallError(
            f"{target} is a git clone. Update it with git -C {target} pull, or remove it and run this again."
        )
    if not (target / MARKER).is_file():
        raise PluginInstallError(f"{target} was not made by runflow plugin install. Move it away and run this again.")


def _place(source: Path, target: Path, *, link: bool) -> None:
    suffix = f".{uuid.uuid4().hex[:8]}{_NOT_LOADED}"
    made, old = target.with_name(target.name + suffix), target.with_name(target.name + ".old" + suffix)
    try:
        if link:
            made.symlink_to(source, target_is_directory=True)
        else:
            shutil.copytree(source, made, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
            (made / MARKER).write_text(f"{runflow.__version__}\n")
        if os.path.lexists(target):
            target.rename(old)
        try:
            made.rename(target)
        except OSError:
            if os.path.lexists(old):
                old.rename(target)
            raise
    finally:
        for rest in (made, old):
            _remove(rest)


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
