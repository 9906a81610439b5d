"""The pictures that ComfyUI shows of what a node is working on: binary messages of its websocket (0.3.12 to 0.33.0).

A message begins with its type, four bytes big-endian. Type 4, for who said so (`FEATURES`), brings JSON that names
prompt and node; type 1, of older versions, only the picture, which belongs to whatever executes.
"""

from dataclasses import dataclass
from typing import Literal

import orjson

FEATURES = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
"""To be sent first on a connection: pictures come with the node that they are of (since ComfyUI 0.3.48)."""

MAX_PREVIEW_BYTES = 256 * 1024
"""A larger picture is passed over: it is shown for a moment, and the next one comes."""

PreviewType = Literal["image/jpeg", "image/png"]

_PICTURE, _PICTURE_WITH_METADATA = 1, 4
_FORMATS: dict[int, PreviewType] = {1: "image/jpeg", 2: "image/png"}
_TYPES: dict[object, PreviewType] = {name: name for name in _FORMATS.values()}


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture of what a node is working on. `prompt_id` and `node_id` are None where the engine does not tell."""

    content: bytes
    content_type: PreviewType
    prompt_id: str | None = None
    node_id: str | None = None


def read_preview(message: bytes) -> Preview | None:
    """Read a binary message; None when it is no picture, or one that is too large."""
    if len(message) < 9 or len(message) > MAX_PREVIEW_BYTES + 4096:
        return None
    kind, second = int.from_bytes(message[:4], "big"), int.from_bytes(message[4:8], "big")
    if kind == _PICTURE and second in _FORMATS:
        return _checked(message[8:], _FORMATS[second])
    if kind != _PICTURE_WITH_METADATA or 8 + second >= len(message):
        return None
    try:
        told = orjson.loads(message[8 : 8 + second])
    except orjson.JSONDecodeError:
        return None
    if not isinstance(told, dict):
        return None
    node_id = _text(told.get("display_node_id")) or _text(told.get("node_id"))
    content_type = _TYPES.get(told.get("image_type", "image/jpeg"))
    return _checked(message[8 + second :], content_type, _text(told.get("prompt_id")), node_id)


def _checked(
    content: bytes, content_type: PreviewType | None, prompt_id: str | None = None, node_id: str | None = None
) -> Preview | None:
    if content_type is None or not 0 < len(content) <= MAX_PREVIEW_BYTES:
        return None
    return Preview(content, content_type, prompt_id, node_id)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
