"""How a version's documents name ComfyUI and node packs, in every shape that callers send them in.

Who says whether they may be built (the server) and who builds them (a worker) must read the same in them.
"""

import re
from collections.abc import Mapping
from typing import Any

from runflow.protocol.origins import undecorated

OFFICIAL_REPOSITORY = "https://github.com/comfyanonymous/ComfyUI"
"""Where ComfyUI comes from if a version names no other origin."""
MOST_PACKS = 200
"""Most node packs of a runtime."""
MOST_CLASSES = 5_000
"""Most classes of one pack."""
MOST_NAME = 200
"""Longest name, in characters."""

_INSTALLER = re.compile(r"comfyui[-_. ]?manager", re.IGNORECASE)
_PLUGIN_NAME = "comfyui-runflow"
_PLUGIN_ORIGIN = "https://github.com/runflow-io/comfyui-runflow"
_COMES_WITH_COMFYUI = frozenset({"websocket_image_save"})
"""What ComfyUI's own repository holds below custom_nodes: no pack, though its classes name such a module."""
_FOLDER = re.compile(r"\w[\w .+()-]*")


def named_packs(custom_nodes: Any) -> list[tuple[Any, Any]]:
    """Return each pack's name and what is said of it; nothing of both was checked."""
    if isinstance(custom_nodes, Mapping):
        return list(custom_nodes.items())
    rows = custom_nodes if isinstance(custom_nodes, list) else []
    return [((row.get("name") or row.get("directory")) if isinstance(row, Mapping) else row, row) for row in rows]


def is_brought_along(name: Any, row: Any) -> bool:
    """Return whether it is our plugin, of which every worker has its own, or a file of ComfyUI's repository."""
    row = row if isinstance(row, Mapping) else {}
    own_name = isinstance(name, str) and name.lower() == _PLUGIN_NAME
    own_origin = undecorated(origin_of(row) or "").lower() == _PLUGIN_ORIGIN
    is_stock = name in _COMES_WITH_COMFYUI and not origin_of(row) if isinstance(name, str) else False
    return own_name or own_origin or is_stock or row.get("plugin") is True


def is_installer(name: Any, origin: str | None) -> bool:
    """Return whether a pack is ComfyUI-Manager: what it installs would be in no record, so no runtime has it."""
    return any(isinstance(one, str) and _INSTALLER.search(one) for one in (name, origin))


def is_folder_name(name: Any) -> bool:
    """Return whether a name is one folder that ComfyUI loads: it skips those that end in `.disabled`."""
    return (
        isinstance(name, str)
        and len(name) <= MOST_NAME
        and _FOLDER.fullmatch(name) is not None
        and not name.endswith((" ", ".", ".disabled"))
        and name != "__pycache__"
    )


def origin_of(row: Mapping[str, Any]) -> str | None:
    """Return where a pack or ComfyUI comes from, as it was sent."""
    return text_of(row, "origin") or text_of(row, "url") or text_of(row, "repo")


def text_of(row: Mapping[str, Any], key: str) -> str | None:
    """Return a text of a row without blanks around it; None where it is empty or none."""
    value = row.get(key)
    return value.strip() or None if isinstance(value, str) else None
