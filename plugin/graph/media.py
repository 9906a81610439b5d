"""How a value names a file: a reference to bytes that are somewhere else, a data URI, or a path below a folder."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote_to_bytes, urlsplit

ASSET_PREFIX = "runflow://assets/"
"""Start of a reference to an uploaded asset; the asset's UUID follows."""

MAX_URL_LENGTH = 8192
"""Longest URL accepted, in characters (presigned ones run to a few thousand)."""

MAX_DATA_BYTES = 1024 * 1024
"""Largest content of a data URI, in bytes after decoding (docs/api/runs.md, "Values")."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_DATA = re.compile(r"data:([^,;]*)((?:;[^,;]*)*?)(;base64)?,", re.IGNORECASE)
_UNSAFE_IN_URL = re.compile(r"[\x00-\x20\x7f]")
_SHOWN = 80

_DRIVE = re.compile(r"[A-Za-z]:")


class MediaKind(str, Enum):
    """Where the bytes of a media value are."""

    ASSET = "asset"
    HTTPS = "https"
    HTTP = "http"
    DATA = "data"

    def __str__(self) -> str:
        return self.value


class MediaReferenceError(ValueError):
    """The text is none of the accepted forms; the message quotes its beginning and lists them."""


@dataclass(frozen=True, slots=True)
class MediaReference:
    """A parsed media value. `value` is the text to keep; `asset_id` is set for assets, the rest for data URIs."""

    kind: MediaKind
    value: str
    asset_id: str | None = None
    media_type: str | None = None
    data: bytes | None = None


def shorten(text: str) -> str:
    """The text in quotes, cut to a length that fits into a message (a data URI can be a megabyte)."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def looks_like_reference(value: str) -> bool:
    """Whether the text is meant as a reference (it has a scheme), rather than as the name of a local file."""
    return "://" in value or value[:5].lower() == "data:"


def media_reference(value: str, *, max_data_bytes: int = MAX_DATA_BYTES) -> MediaReference:
    """Parse `runflow://assets/{uuid}`, `https://…`, `http://…` or `data:…`.

    Whether plain http is allowed, and whether the asset exists and is the caller's, is for the caller to decide.

    Raises:
        MediaReferenceError: none of these forms, or a data URI that is malformed or larger than `max_data_bytes`.
    """
    scheme = value.split(":", 1)[0].lower() if ":" in value[:16] else ""
    if scheme == "runflow":
        return _asset(value)
    if scheme in ("http", "https"):
        return _url(value, MediaKind(scheme))
    if scheme == "data":
        return _data(value, max_data_bytes)
    raise MediaReferenceError(
        f"{shorten(value)} is not a file reference. Send runflow://assets/{{uuid}} of an uploaded asset, "
        "an https:// URL, or a data: URI."
    )


def _asset(value: str) -> MediaReference:
    asset_id = value[len(ASSET_PREFIX) :]
    if value[: len(ASSET_PREFIX)].lower() != ASSET_PREFIX or not _UUID.fullmatch(asset_id):
        raise MediaReferenceError(f"{shorten(value)} is not an asset reference. The form is {ASSET_PREFIX}{{uuid}}.")
    asset_id = asset_id.lower()
    return MediaReference(MediaKind.ASSET, ASSET_PREFIX + asset_id, asset_id=asset_id)


def _url(value: str, kind: MediaKind) -> MediaReference:
    if len(value) > MAX_URL_LENGTH:
        raise MediaReferenceError(
            f"The URL {shorten(value)} has {len(value)} characters; at most {MAX_URL_LENGTH} are allowed. "
            "Upload the file as an asset instead."
        )
    try:
        parts = urlsplit(value)
        host = parts.hostname
        _ = parts.port  # raises for ports that are no number or out of range
    except ValueError as error:
        raise MediaReferenceError(f"{shorten(value)} is not a valid URL: {error}.") from None
    if not host or _UNSAFE_IN_URL.search(value):
        reason = "it has no host name" if not host else "it contains spaces or control characters (percent-encode them)"
        raise MediaReferenceError(f"{shorten(value)} is not a valid URL: {reason}.")
    return MediaReference(kind, value)


def _data(value: str, max_data_bytes: int) -> MediaReference:
    found = _DATA.match(value[:1024])
    if found is None:
        raise MediaReferenceError(f"{shorten(value)} is not a data URI. The form is data:TYPE/SUBTYPE;base64,CONTENT.")
    body = value[found.end() :]
    is_base64 = found.group(3) is not None
    # Before decoding: base64 is 4/3 of its content, percent-encoding at most three times.
    if len(body) > (max_data_bytes * 4 // 3 + 4 if is_base64 else max_data_bytes * 3):
        raise _too_large(max_data_bytes)
    try:
        data = base64.b64decode(body, validate=True) if is_base64 else unquote_to_bytes(body)
    except (binascii.Error, ValueError) as error:
        raise MediaReferenceError(f"The data URI {shorten(value)} does not hold valid base64: {error}.") from None
    if len(data) > max_data_bytes:
        raise _too_large(max_data_bytes)
    if not data:
        raise MediaReferenceError(f"The data URI {shorten(value)} is empty.")
    return MediaReference(MediaKind.DATA, value, media_type=found.group(1).lower() or "text/plain", data=data)


def _too_large(max_data_bytes: int) -> MediaReferenceError:
    return MediaReferenceError(
        f"The data URI holds more than {max_data_bytes} bytes. Upload the file as an asset and send runflow://assets/{{uuid}}."
    )


def path_fault(path: str) -> str | None:
    """Why `path` must not be joined to a folder, or None when it stays inside.

    Both separators count on every system, because a prompt bound here may run on a Windows engine.
    """
    if not path or not path.strip():
        return "it is empty"
    if "\x00" in path:
        return "it contains a NUL character"
    if path[0] in "/\\" or _DRIVE.match(path):
        return "it is absolute"
    if ".." in re.split(r"[/\\]", path):
        return 'it contains ".."'
    return None
