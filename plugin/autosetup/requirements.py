"""The packages that a custom node asks for: only plain names with versions are handed to pip. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VERSION = r"\s*(?:===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+\s*"
_MARKED = r"(?:python_version|python_full_version|os_name|sys_platform|platform_\w+|implementation_\w+|extra)"
_MARKER = rf"[\s(]*{_MARKED}[A-Za-z0-9_.\s'\"=!<>~(),+-]*"
_LINE = re.compile(
    rf"{_NAME}\s*(?:\[[A-Za-z0-9._,\s-]*\])?\s*"
    rf"(?:\({_VERSION}(?:,{_VERSION})*\)|{_VERSION}(?:,{_VERSION})*)?\s*(?:;{_MARKER})?"
)
# What ends like a file is one for pip: of the folder in which it runs, where such a file is there.
_ARCHIVES = (".whl", ".zip", ".tar", ".tgz", ".tbz", ".txz", ".tlz", ".gz", ".bz2", ".xz", ".lz", ".lzma", ".egg")
_MAX_LINES = 300
_MAX_LENGTH = 300


@dataclass(frozen=True)
class Requirements:
    """What pip is asked for, and what is left out: options, addresses, paths and whatever else is not a plain name."""

    plain: tuple[str, ...]
    left_out: tuple[str, ...]


def read_requirements(text: str) -> Requirements:
    """Sort the lines of a requirements.txt. Comments and repetitions go."""
    plain: dict[str, None] = {}
    left_out: dict[str, None] = {}
    joined = re.sub(r"\\\r?\n", " ", text.lstrip("\ufeff"))
    for line in joined.splitlines():
        wanted = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not wanted:
            continue
        if is_plain(wanted) and len(plain) < _MAX_LINES:
            plain[wanted] = None
        else:
            left_out[wanted[:_MAX_LENGTH]] = None
    return Requirements(tuple(plain), tuple(left_out)[:_MAX_LINES])


def is_plain(line: str) -> bool:
    """Whether a line names a package of the index: no option, no address, no path, no variable."""
    if len(line) > _MAX_LENGTH or " --" in line or _LINE.fullmatch(line) is None:
        return False
    return not re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower().endswith(_ARCHIVES)
