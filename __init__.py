"""A clone of this repository in ComfyUI's custom_nodes folder is the plugin: ComfyUI imports this file."""

from .plugin import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
WEB_DIRECTORY = "./plugin/web"
