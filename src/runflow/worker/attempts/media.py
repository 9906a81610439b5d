"""What a file is, by its name and its first bytes, and names that are safe in every folder.

Nothing here decodes a picture that it need not decode.
"""

import io
import mimetypes
import re
import struct
import unicodedata
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from PIL import Image, UnidentifiedImageError

HEAD_BYTES = 65536
"""How much of a file is enough for `content_type` and, for nearly every image, `image_size`."""

UNKNOWN_TYPE = "application/octet-stream"

_BY_SUFFIX = {
    # What the standard library's table lacks, or takes from the machine's own files.
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".avif": "image/avif",
    ".exr": "image/x-exr",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".opus": "audio/ogg",
    ".ogg": "audio/ogg",
    ".wav": "audio/wav",
    ".m4a": "audio/mp4",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".obj": "model/obj",
    ".stl": "model/stl",
    ".ply": "model/ply",
    ".json": "application/json",
    ".txt": "text/plain",
    ".zip": "application/zip",
    ".safetensors": UNKNOWN_TYPE,
    ".latent": UNKNOWN_TYPE,
}

_BY_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"glTF", "model/gltf-binary"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),
    (b"PK\x03\x04", "application/zip"),
    (b"%PDF", "application/pdf"),
)

_SUFFIX_OF = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif"}


class NotAnImage(Exception):
    """The bytes are not a picture that the engine could load; the message says why, without naming a path."""


def content_type(filename: str, head: bytes) -> str:
    """Return the media type of a file by its first bytes where they tell, else by its suffix.

    Bytes win over the suffix only for pictures: other containers (zip, Matroska, Ogg) have many suffixes of their own.
    """
    magic = _magic(head)
    if magic and magic.startswith("image/"):
        return magic
    suffix = Path(filename).suffix.lower()
    named = _BY_SUFFIX.get(suffix) or mimetypes.guess_type("file" + suffix)[0]
    return named or magic or UNKNOWN_TYPE


def suffix_for(head: bytes) -> str:
    """Return the suffix of a picture by its first bytes, or an empty text."""
    return _SUFFIX_OF.get(_magic(head) or "", "")


def image_size(media_type: str, head: bytes, whole: Callable[[], BinaryIO] | None = None) -> tuple[int, int] | None:
    """Return width and height of an image from its header, or None for anything else.

    `whole` gives the file; it is called only where the first bytes do not reach to the size.
    """
    if not media_type.startswith("image/"):
        return None
    if head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR" and len(head) >= 24:
        width, height = struct.unpack(">II", head[16:24])
        return width, height
    size = _pillow_size(io.BytesIO(head))
    if size is None and whole is not None:
        with whole() as file:
            size = _pillow_size(file)
    return size


def verify_image(source: Path | BinaryIO) -> None:
    """Make sure that a file is a picture whose structure is sound. Raises `NotAnImage`.

    The pixels of most formats are not decoded: a picture that is cut off may pass and is then refused by the engine.
    """
    try:
        with Image.open(source) as picture:
            picture.verify()
    except UnidentifiedImageError:
        raise NotAnImage("its bytes are not a picture in a known format") from None
    except Image.DecompressionBombError:
        raise NotAnImage("it has more pixels than can be decoded safely") from None
    except Exception as error:
        # Pillow's readers raise anything from SyntaxError to struct.error on broken files.
        raise NotAnImage(f"it is damaged ({type(error).__name__})") from None


def _magic(head: bytes) -> str | None:
    if head[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(head[8:12])
    if head[4:8] == b"ftyp":
        return {b"avif": "image/avif", b"heic": "image/heic"}.get(head[8:12], "video/mp4")
    return next((media_type for start, media_type in _BY_MAGIC if head.startswith(start)), None)


def _pillow_size(source: BinaryIO) -> tuple[int, int] | None:
    try:
        with Image.open(source) as picture:
            return picture.size
    except Exception:
        return None


_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_UNSAFE_IN_SUFFIX = re.compile(r"[^A-Za-z0-9]+")
_LONGEST_STEM = 60
_LONGEST_SUFFIX = 10


def safe_name(wanted: str, ordinal: int) -> str:
    """Return a plain file name that resembles `wanted`: `0-holiday-photo.png`.

    The `ordinal` in front makes names of one folder differ and keeps them from being reserved ones (`nul`, `.git`).
    Only ASCII letters, digits, `_` and `-`, and one dot before the suffix, which loaders go by; at most 80 characters.
    """
    name = PurePosixPath(wanted.replace("\\", "/")).name
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    stem, dot, suffix = ascii_name.rpartition(".")
    if not dot:
        stem, suffix = suffix, ""
    stem = _UNSAFE.sub("-", stem).strip("-")[:_LONGEST_STEM] or "file"
    suffix = _UNSAFE_IN_SUFFIX.sub("", suffix)[:_LONGEST_SUFFIX].lower()
    return f"{ordinal}-{stem}.{suffix}" if suffix else f"{ordinal}-{stem}"


def name_in_url(url: str) -> str:
    """Return the last part of the URL's path, percent-decoded; may be empty."""
    return PurePosixPath(unquote(urlsplit(url).path)).name
