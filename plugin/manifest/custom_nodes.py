"""The custom nodes that a prompt uses: folder, origin, commit, and the packages that they ask for."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..version import VERSION
from .checkout import read_checkout

_MODULE = "custom_nodes."
_PLUGIN = Path(__file__).resolve().parents[1]
_REQUIREMENT = re.compile(r"[A-Za-z0-9][^/\\]*")


def folders_used(prompt: Mapping[str, Any], modules: Mapping[str, str]) -> dict[str, list[str]]:
    """The names below custom_nodes that define a node class of the prompt, and for each its classes there.

    `modules` maps a class to where ComfyUI found it: `custom_nodes.ComfyUI-Runflow`, `nodes`, `comfy_extras.nodes_x`.
    """
    found: dict[str, list[str]] = {}
    for class_type in sorted({str(node.get("class_type")) for node in prompt.values()}):
        module = modules.get(class_type, "")
        if module.startswith(_MODULE):
            found.setdefault(module.removeprefix(_MODULE), []).append(class_type)
    return found


def custom_nodes(names: Mapping[str, list[str]], folders: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """The manifest of these custom nodes: name → origin, commit, dirty, what its own files say, and the classes used.

    Without a commit (a copy, an archive) origin, commit and dirty are null; `version` and `registry_id` come from its
    pyproject.toml, `dependencies` from there and from requirements.txt. `plugin` marks this plugin, which every worker
    brings along.
    """
    places = list(folders)
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(names):
        candidates = (place / part for place in places for part in (name, f"{name}.py"))
        path = next((candidate for candidate in candidates if candidate.exists()), None)
        if path is not None:
            found[name] = {**_describe(path), "classes": names[name]}
    return found


def _describe(path: Path) -> dict[str, Any]:
    checkout = read_checkout(path) if path.is_dir() else None
    entry: dict[str, Any] = checkout.to_dict() if checkout else {"origin": None, "commit": None, "dirty": None}
    project = _project(path)
    if isinstance(project.get("version"), str):
        entry["version"] = project["version"]
    if (path / ".tracking").is_file() and isinstance(project.get("name"), str):
        entry["registry_id"] = project["name"]  # installed from the Comfy Registry
    declared = project.get("dependencies")
    asked = [text for text in declared if isinstance(text, str)] if isinstance(declared, list) else []
    entry["dependencies"] = sorted({text for text in (*asked, *_requirements(path)) if _is_by_name(text)})
    if _PLUGIN in (path.resolve(), (path / "plugin").resolve()):
        entry["version"], entry["plugin"] = VERSION, True
    return entry


def _requirements(path: Path) -> list[str]:
    try:
        text = (path / "requirements.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [line.partition(" #")[0].strip() for line in text.splitlines()]


def _is_by_name(requirement: str) -> bool:
    """Whether it only names a package: an address may hold a token, an option or a path a place of this machine."""
    return bool(_REQUIREMENT.fullmatch(requirement))


def _project(path: Path) -> dict[str, Any]:
    try:
        text = (path / "pyproject.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    try:
        document = _toml().loads(text)
    except (ValueError, ImportError):
        return {}
    project = document.get("project")
    return project if isinstance(project, dict) else {}


def _toml() -> Any:
    try:
        return importlib.import_module("tomllib")
    except ImportError:  # Python 3.10
        return importlib.import_module("pip._vendor.tomli")
