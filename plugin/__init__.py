"""ComfyUI-Runflow: turn a ComfyUI workflow into a callable API. ComfyUI imports this folder and takes the mappings."""

from __future__ import annotations

from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
