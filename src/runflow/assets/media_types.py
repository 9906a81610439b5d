"""What kind of file a MIME type means, and the types that `GET /v1/assets/types` names.

These are what ComfyUI's own nodes and common custom nodes read or write. Other types are accepted as well; they become
assets of the kind `file`.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

MIME_TYPE = r"^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(\s*;[\x20-\x7e]*)?$"
"""`type/subtype`, with parameters or without: what can stand in a `Content-Type` header."""


class AssetType(StrEnum):
    """The field `asset_type` of an asset."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    MODEL_3D = "3d"
    TEXT = "text"
    ARCHIVE = "archive"
    OTHER = "other"


_BY_TOP_LEVEL = {
    "image": AssetType.IMAGE,
    "video": AssetType.VIDEO,
    "audio": AssetType.AUDIO,
    "model": AssetType.MODEL_3D,
    "text": AssetType.TEXT,
}
_TEXT = re.compile(r"application/(json|xml|yaml|x-yaml|toml|.*\+json|.*\+xml)")
_ARCHIVE = re.compile(
    r"application/(zip|gzip|zstd|x-(zip(-compressed)?|tar|gtar|gzip|bzip2?|xz|7z-compressed|rar(-compressed)?|zstd)"
    r"|vnd\.rar|x-compressed-tar)"
)


def essence(mime_type: str) -> str:
    """Return the type without its parameters, in lower case."""
    return mime_type.partition(";")[0].strip().lower()


def asset_type(mime_type: str) -> AssetType:
    """Return the kind of a file of this MIME type."""
    plain = essence(mime_type)
    known = _BY_TOP_LEVEL.get(plain.partition("/")[0])
    if known:
        return known
    if _TEXT.fullmatch(plain):
        return AssetType.TEXT
    return AssetType.ARCHIVE if _ARCHIVE.fullmatch(plain) else AssetType.OTHER


@dataclass(frozen=True, slots=True)
class MediaType:
    """One type, with the wire's names."""

    mime_type: str
    asset_type: AssetType
    extensions: tuple[str, ...]


_EXTENSIONS: dict[str, tuple[str, ...]] = {
    "image/png": (".png",),
    "image/jpeg": (".jpg", ".jpeg"),
    "image/webp": (".webp",),
    "image/gif": (".gif",),
    "image/avif": (".avif",),
    "image/bmp": (".bmp",),
    "image/tiff": (".tif", ".tiff"),
    "image/heic": (".heic",),
    "image/heif": (".heif",),
    "image/jxl": (".jxl",),
    "image/svg+xml": (".svg",),
    "image/x-exr": (".exr",),
    "image/vnd.radiance": (".hdr",),
    "video/mp4": (".mp4", ".m4v"),
    "video/webm": (".webm",),
    "video/quicktime": (".mov",),
    "video/x-matroska": (".mkv",),
    "video/x-msvideo": (".avi",),
    "audio/mpeg": (".mp3",),
    "audio/wav": (".wav",),
    "audio/flac": (".flac",),
    "audio/ogg": (".ogg", ".oga"),
    "audio/opus": (".opus",),
    "audio/mp4": (".m4a",),
    "audio/aac": (".aac",),
    "model/gltf-binary": (".glb",),
    "model/gltf+json": (".gltf",),
    "model/obj": (".obj",),
    "model/stl": (".stl",),
    "model/ply": (".ply",),
    "text/plain": (".txt",),
    "text/csv": (".csv",),
    "application/json": (".json",),
    "application/yaml": (".yaml", ".yml"),
    "application/zip": (".zip",),
    "application/x-tar": (".tar",),
    "application/gzip": (".gz",),
    "application/pdf": (".pdf",),
    "application/octet-stream": (".bin", ".safetensors", ".npy", ".npz", ".latent"),
}

MEDIA_TYPES: tuple[MediaType, ...] = tuple(
    MediaType(mime_type, asset_type(mime_type), extensions) for mime_type, extensions in _EXTENSIONS.items()
)
"""Every named type, in the order of the answer."""
