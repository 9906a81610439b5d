"""Where output nodes may write and read: below ComfyUI's output folder, nowhere else."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..graph import path_fault

_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_NUMBERED = re.compile(r"_(\d{1,15})")


class OutputPathError(ValueError):
    """The path is not usable as an output; the message names it and the next step."""


def output_folder() -> Path:
    """ComfyUI's output folder, with symbolic links resolved."""
    import folder_paths

    return Path(folder_paths.get_output_directory()).resolve()


def inside(root: Path, relative: str) -> Path:
    """Join `relative` to `root`, symbolic links resolved.

    Raises:
        OutputPathError: the path is absolute, contains `..`, or leaves `root` through a link.
    """
    fault = path_fault(relative)
    path = (root / relative).resolve() if fault is None else root
    if fault is None and not path.is_relative_to(root):
        fault = "it leads out of that folder through a link"
    if fault is not None:
        raise OutputPathError(f'"{relative}" is no path below ComfyUI\'s output folder: {fault}.')
    return path


def existing_file(root: Path, given: str) -> tuple[str, str]:
    """The (filename, subfolder) of a file below `root`, for a path relative to `root` or absolute.

    Raises:
        OutputPathError: nothing given, outside `root`, not there, or not a file.
    """
    text = given.strip()
    if not text:
        raise OutputPathError("it received an empty path. Wire the file name of a saving node to its value socket")
    if Path(text).is_absolute():
        path = Path(text).resolve()
        if not path.is_relative_to(root):
            raise OutputPathError(f'"{text}" is not below ComfyUI\'s output folder. Save the file there')
    else:
        path = inside(root, text)
    if path.is_dir():
        raise OutputPathError(f'"{text}" is a folder. Pass the name of one file')
    if not path.is_file():
        raise OutputPathError(f'"{text}" is not in ComfyUI\'s output folder. Save the file before this node runs')
    relative = path.relative_to(root)
    subfolder = relative.parent.as_posix()
    return relative.name, "" if subfolder == "." else subfolder


def next_number(folder: Path, stem: str, suffix: str = ".png") -> int:
    """One more than the highest number among `{stem}_{number}{suffix}` in `folder`; 1 for a new folder."""
    highest = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(stem) and entry.name.endswith(suffix):
                found = _NUMBERED.fullmatch(entry.name, len(stem), len(entry.name) - len(suffix))
                if found:
                    highest = max(highest, int(found.group(1)))
    return highest + 1


def file_stem(output_id: str) -> str:
    """The start of a file name, made from an output's id: ASCII letters, digits, dashes and underscores."""
    return _NOT_IN_NAME.sub("_", output_id).strip("_")[:80] or "output"
