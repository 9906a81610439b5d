"""What kind of file a MIME type means."""

import re
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
