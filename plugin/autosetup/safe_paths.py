"""Names that a workflow gives to folders and files, judged before anything is put there. Pure but for links on disk."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

PICKLES = frozenset((".bin", ".ckpt", ".pkl", ".pt", ".pt2", ".pth"))
"""Formats that can run code when they are loaded."""

DATA = frozenset((".gguf", ".json", ".onnx", ".safetensors", ".sft", ".txt", ".yaml", ".yml"))
"""Formats of models, and of the files beside them, that are data only."""

NO_MODELS = frozenset(("custom_nodes", "datasets"))
"""Folders of ComfyUI that hold no models."""

_PACK = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"|?*\\\u200b-\u200f\u202a-\u202e\u2060-\u2069\ud800-\udfff\ufeff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?", re.IGNORECASE)
_MAX_PART = 200
_MAX_DEPTH = 6


class PathRefused(Exception):
    """Nothing may be put at this place; the message says why."""


def pack_name(url_path: str) -> str:
    """The folder for a repository, from the last part of its address.

    Raises:
        PathRefused: it makes no folder name.
    """
    name = url_path.rstrip("/").rpartition("/")[2].removesuffix(".git")
    if not _PACK.fullmatch(name) or name.endswith((".", ".disabled", ".py")) or _RESERVED.fullmatch(name):
        raise PathRefused(f'"{name[:100]}" is no name for a folder of custom nodes.')
    return name


def model_parts(directory: object, name: object) -> tuple[str, PurePosixPath]:
    """The kind of a model (the first folder) and its path below that kind's folder.

    Raises:
        PathRefused: directory or name are missing or leave the folder.
    """
    if not isinstance(directory, str) or not isinstance(name, str) or not directory or not name:
        raise PathRefused("the workflow does not say in which folder the file belongs.")
    parts = [*directory.split("/"), *name.replace("\\", "/").split("/")]
    for part in parts:
        check_part(part)
    if len(parts) > _MAX_DEPTH:
        raise PathRefused("the path is too deep.")
    return parts[0], PurePosixPath(*parts[1:])


def check_part(part: str, *, hidden: bool = False) -> None:
    """Judge one name of a path; `hidden` allows a dot, a tilde or a hyphen at its beginning.

    Raises:
        PathRefused: it leaves the folder, or some system gives it another meaning.
    """
    if part in ("", ".", "..") or "/" in part:
        raise PathRefused("the path leaves its folder.")
    first = part[0] in "-~." and not hidden
    if first or part[-1] in ". " or _FORBIDDEN.search(part) or len(part.encode()) > _MAX_PART:
        raise PathRefused(f"{part[:60]!a} is no name for a file or a folder.")
    if _RESERVED.fullmatch(part):
        raise PathRefused(f'"{part}" is a device on Windows.')


def is_pickle(name: str) -> bool:
    """Whether loading the file can run code. Raises PathRefused for a file that is no model at all."""
    ending = PurePosixPath(name).suffix.lower()
    if ending in PICKLES:
        return True
    if ending in DATA:
        return False
    raise PathRefused(f'"{ending or name[:60]}" is no format of models.')


def inside(folder: Path, relative: PurePosixPath) -> Path:
    """The place of a file below a folder, which may itself be a link; folders below it must not lead out.

    Raises:
        PathRefused: a link leads elsewhere, or something is there already.
    """
    root = folder.resolve()
    place = root.joinpath(*relative.parts)
    if not place.parent.resolve().is_relative_to(root):
        raise PathRefused("a link in the folder leads elsewhere.")
    if os.path.lexists(place):
        raise PathRefused("there is already something at this place, and nothing is ever overwritten.")
    return place
