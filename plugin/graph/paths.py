"""Relative paths that others chose: may they be joined to a folder?"""

from __future__ import annotations

import re

_DRIVE = re.compile(r"[A-Za-z]:")


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
