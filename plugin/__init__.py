"""ComfyUI-Runflow: turn a ComfyUI workflow into a callable API. ComfyUI imports this folder and takes these names."""

from __future__ import annotations

from .comfyui import register
from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
WEB_DIRECTORY = "./web"

register()
