"""Object keys: the names under which storage keeps files, `noun/id/…/name`, the same on disk and on S3."""

import re

from starlette.requests import Request

from runflow.settings import Settings


def base_url(request: Request, settings: Settings) -> str:
    """Return `RUNFLOW_PUBLIC_URL`, else the scheme and host that this request was sent to; no slash at the end."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    return f"{request.url.scheme}://{request.url.netloc}"


MAX_KEY_BYTES = 1024
"""What S3 takes in one key."""
MAX_SEGMENT_BYTES = 255
"""What the file systems in use take in one name."""

# `#1` and the like at the end of a name is what obstore calls a file that is still being written on local disk.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]|#\d+(/|$)")
_UNWELCOME = re.compile(r'[\x00-\x1f\x7f\\/:*?"<>|#%]+')


class InvalidKey(ValueError):
    """This is not an object key: it could leave the storage folder, or no file system would take it."""


def validate(key: str) -> str:
    """Return the key unchanged, or raise `InvalidKey` saying why it is none.

    Segments are separated by `/`, 1 to 255 bytes long, and never begin with a dot, so neither `..` nor a hidden file
    can be named; no backslash, no control character, no leading or trailing slash.
    """
    try:
        segments = [segment.encode() for segment in key.split("/")]
    except UnicodeEncodeError:
        raise InvalidKey("An object key is Unicode text without lone surrogates.") from None
    if sum(map(len, segments)) + len(segments) - 1 > MAX_KEY_BYTES:
        raise InvalidKey(f"An object key has at most {MAX_KEY_BYTES} bytes.")
    if _FORBIDDEN.search(key):
        raise InvalidKey("An object key has no control characters, no backslash and no segment that ends in `#1`.")
    for segment in segments:
        if not segment or segment.startswith(b"."):
            raise InvalidKey("Each segment of an object key has a name that does not begin with a dot.")
        if len(segment) > MAX_SEGMENT_BYTES:
            raise InvalidKey(f"Each segment of an object key has at most {MAX_SEGMENT_BYTES} bytes.")
    return key


def segment(name: str) -> str:
    """Return any file name as one valid segment: its last path part, unwelcome characters as `_`, at most 255 bytes.

    The suffix survives the shortening. Two names can end up the same, so put an id or a number into the key as well.
    """
    base = _UNWELCOME.sub("_", re.split(r"[/\\]", name)[-1]).strip().lstrip(".") or "file"
    encoded = base.encode("utf-8", "replace")
    if len(encoded) > MAX_SEGMENT_BYTES:
        stem, dot, suffix = base.rpartition(".")
        tail = (dot + suffix).encode("utf-8", "replace")
        if not stem or len(tail) > MAX_SEGMENT_BYTES // 4:
            tail = b""
        encoded = encoded[: MAX_SEGMENT_BYTES - len(tail)].decode("utf-8", "ignore").encode() + tail
    return encoded.decode()
