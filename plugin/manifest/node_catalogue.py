"""What the manifest must know of the ComfyUI that runs: its node classes and its model folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol


class NodeCatalogue(Protocol):
    """The node classes and model folders of one ComfyUI."""

    models_root: Path
    """Its folder `models`."""

    custom_nodes: tuple[Path, ...]
    """Its folders of custom nodes."""

    def is_output(self, class_type: str) -> bool:
        """Whether ComfyUI executes nodes of this class for their own sake."""

    def has(self, class_type: str) -> bool:
        """Whether this ComfyUI has the class."""

    def module(self, class_type: str) -> str:
        """Where the class comes from, such as `custom_nodes.ComfyUI-Runflow`; empty for an unknown one."""

    def field(self, class_type: str, name: str) -> Any:
        """The declaration of one of its inputs, in ComfyUI's form `(type, options)`; None for an unknown one."""

    def model_kinds(self) -> list[str]:
        """The names of its model folders: `checkpoints`, `loras` and so on, aliases included."""

    def model_folders(self, kind: str) -> list[Path]:
        """The folders of one kind of models, the one that ComfyUI looks into first at the beginning."""

    def model_names(self, kind: str) -> list[str]:
        """The files that a node offers for one kind."""

    def model_path(self, kind: str, name: str) -> Path | None:
        """The place of a model of one kind; None where there is none of that name."""


def choices(declaration: Any) -> list[Any]:
    """What a field lets a person choose from; empty where it is no choice. Both of ComfyUI's forms are understood."""
    if not isinstance(declaration, (list, tuple)) or not declaration:
        return []
    if isinstance(declaration[0], (list, tuple)):
        return list(declaration[0])
    options = declaration[1] if len(declaration) > 1 and isinstance(declaration[1], dict) else {}
    found = options.get("options")
    return list(found) if isinstance(found, (list, tuple)) else []


def is_prose(declaration: Any) -> bool:
    """Whether a field is a text of several lines, which names no file."""
    if not isinstance(declaration, (list, tuple)) or len(declaration) < 2 or not isinstance(declaration[1], dict):
        return False
    return bool(declaration[1].get("multiline"))
