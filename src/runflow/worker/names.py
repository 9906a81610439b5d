"""File names that are safe in every folder, made from names that others chose."""

import re
import unicodedata
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

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
