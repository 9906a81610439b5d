"""Where the Runflow Save nodes put a file: below output/, in the run's own folder, over no other file."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from ..graph.runflow_nodes import OUTPUT_SUBFOLDER_FIELD
from .output_paths import file_stem, inside, next_number, output_folder

_PREFIX_TOOLTIP = "Start of the file name; folders below output/ may stand in front. Dates: %date:yyyy-MM-dd%."
_NOT_IN_FOLDER = re.compile(r'[\x00-\x1f<>:"|?*]')  # what no name may have on Windows
_TOKEN = re.compile(r"%(?:date:([^%]+)|(year|month|day|hour|minute|second))%")
_PART = re.compile(r"yyyy|yy|dd?|MM?|hh?|mm?|ss?")


def save_types(socket: str, kind: str, prefix: str, **widgets: Any) -> dict[str, dict[str, Any]]:
    """Sockets and widgets of a Runflow Save node, in ComfyUI's form, with `widgets` after the prefix.

    The hidden subfolder is set in the prompt by the platform.
    """
    return {
        "required": {
            socket: (kind, {"forceInput": True, "tooltip": "What to save."}),
            "filename_prefix": ("STRING", {"default": prefix, "tooltip": _PREFIX_TOOLTIP}),
            **widgets,
        },
        "hidden": {OUTPUT_SUBFOLDER_FIELD: "STRING", "unique_id": "UNIQUE_ID"},
    }


@contextmanager
def naming(title: str, unique_id: object) -> Iterator[None]:
    """Let whatever goes wrong within say which node it was, as a ValueError."""
    try:
        yield
    except Exception as error:  # FFmpeg's have no kind in common with others
        if type(error).__name__ == "InterruptProcessingException":  # a person pressed Cancel; ComfyUI knows it by type
            raise
        raise ValueError(f"{title} (node {unique_id}): {str(error).rstrip('.') or type(error).__name__}.") from error


def place(encoded: Path, prefix: str, subfolder: str) -> Path:
    """Move a finished file to `{subfolder}/{prefix}_00001{suffix}` below output/, or the next free number.

    Raises:
        OutputPathError: prefix or subfolder leads out of the output folder.
        OSError: it cannot be written; nothing of it is left.
    """
    root = output_folder()
    top = inside(root, subfolder) if subfolder else root
    parts = re.split(r"[/\\]", _NOT_IN_FOLDER.sub("_", fill_in(prefix.strip(), datetime.now())))
    *above, name = [part for part in parts if part not in ("", ".")] or [""]
    if name == "..":
        above.append(name)
    folder = inside(top, "/".join(above)) if above else top
    folder.mkdir(parents=True, exist_ok=True)
    stem, suffix = file_stem(name), encoded.suffix
    number = next_number(folder, stem, suffix)
    while True:
        target = folder / f"{stem}_{number:05d}{suffix}"
        try:
            # Reserved first: another ComfyUI may write to the same folder.
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            number += 1
            continue
        try:
            shutil.move(encoded, target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return target


def relative_name(path: Path) -> str:
    """The file's name relative to output/, with forward slashes: what Runflow Output (File) takes."""
    return path.relative_to(output_folder()).as_posix()


def reported(path: Path) -> dict[str, str]:
    """The file as ComfyUI's history lists it."""
    folder = path.parent.relative_to(output_folder()).as_posix()
    return {"filename": path.name, "subfolder": "" if folder == "." else folder, "type": "output"}


def fill_in(prefix: str, now: datetime) -> str:
    """The prefix with every date in it written out; what is no date stays.

    ComfyUI's own saving nodes know the same forms: `%date:yyyy-MM-dd%`, `%year%` and the like. They are filled in when
    the file is saved, so that a deployed workflow does not go on writing the day of its deployment.
    """

    def written(found: re.Match[str]) -> str:
        form, word = found.groups()
        if word:
            return f"{getattr(now, word):02d}"
        return _PART.sub(lambda part: _number(part[0], now), form)

    return _TOKEN.sub(written, prefix)


def _number(part: str, now: datetime) -> str:
    if part[0] == "y":
        return f"{now.year:04d}"[-len(part) :]
    value = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}[part[0]]
    return str(value).zfill(len(part))
