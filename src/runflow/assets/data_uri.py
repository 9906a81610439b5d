"""Files that come inside a request, as `data:` URIs (RFC 2397)."""

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from runflow import errors
from runflow.assets.kinds import MIME_TYPE

MAX_DATA_URI_BYTES = 1024 * 1024
"""Decoded bytes (docs/api/runs.md, "Values")."""

_WHITESPACE = re.compile(r"\s+")


def parse_data_uri(uri: str) -> tuple[str, bytes]:
    """Return MIME type and bytes. Raises `ValidationFailed` when the URI cannot be read or holds more than 1 MiB."""
    scheme, _, rest = uri.partition(":")
    header, comma, data = rest.partition(",")
    if scheme.lower() != "data" or not comma:
        raise errors.ValidationFailed("This is no data URI: it has the form `data:image/png;base64,…`.")
    header, is_base64 = _split_base64(header)
    mime_type = header or "text/plain;charset=US-ASCII"
    if mime_type.startswith(";"):
        mime_type = "text/plain" + mime_type
    if len(mime_type) > 255 or not re.fullmatch(MIME_TYPE, mime_type):
        raise errors.ValidationFailed("The data URI's type is not a MIME type such as `image/png`.")
    # What cannot fit any more is not decoded at all: one byte takes at most three characters.
    if len(data) > MAX_DATA_URI_BYTES * 3 + 4:
        raise _too_large()
    content = _decode(data) if is_base64 else unquote_to_bytes(data)
    if len(content) > MAX_DATA_URI_BYTES:
        raise _too_large()
    if not content:
        raise errors.ValidationFailed("The data URI holds no bytes.")
    return mime_type, content


def _split_base64(header: str) -> tuple[str, bool]:
    head, semicolon, last = header.rpartition(";")
    if semicolon and last.strip().lower() == "base64":
        return head, True
    return header, False


def _decode(data: str) -> bytes:
    plain = _WHITESPACE.sub("", data).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise errors.ValidationFailed("The data URI's base64 text cannot be decoded.") from None


def _too_large() -> errors.ValidationFailed:
    return errors.ValidationFailed(
        f"The data URI holds more than {MAX_DATA_URI_BYTES} bytes. Upload the file (POST /v1/asset-uploads) and send "
        "its `runflow://assets/…` reference instead."
    )
