"""What Auto setup must know of the ComfyUI that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ..manifest.node_catalogue import NodeCatalogue


class Machine(NodeCatalogue, Protocol):
    """Its node classes, its folders of custom nodes and its folders of models."""

    def model_folders(self, kind: str) -> list[Path]:
        """The folders of one kind of models, the one that ComfyUI looks into first at the beginning."""
