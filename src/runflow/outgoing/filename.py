"""A safe file name for something fetched. Pure."""

import re
from email.message import Message
from urllib.parse import unquote

import httpx

MAX_LENGTH = 150
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')


def filename_of(url: httpx.URL, disposition: str | None) -> str | None:
    """Return the name that a Content-Disposition header or else the URL's path gives; None where neither has one.

    The result is one path component without separators, control characters or leading dots, at most 150 characters,
    its extension kept.
    """
    return _clean(_from_header(disposition)) or _clean(unquote(url.path.rsplit("/", 1)[-1]))


def _from_header(disposition: str | None) -> str:
    if not disposition:
        return ""
    message = Message()
    message["Content-Disposition"] = disposition.replace("\r", " ").replace("\n", " ")
    return message.get_filename("") or ""


def _clean(name: str) -> str | None:
    # What a browser would save: only the last component of a path, Windows paths included.
    name = re.split(r"[/\\]", name)[-1]
    name = _UNSAFE.sub("_", name.encode("utf-8", "replace").decode()).strip().lstrip(".").strip()
    stem, dot, extension = name.rpartition(".")
    if dot and 0 < len(extension) <= 20:
        name = stem[: MAX_LENGTH - len(extension) - 1] + dot + extension
    return name[:MAX_LENGTH] or None
