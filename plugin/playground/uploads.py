"""`POST /runflow/upload-input-file`: any file into ComfyUI's input folder, streamed, never over another file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import time
from pathlib import Path, PurePosixPath
from typing import Any

from aiohttp import BodyPartReader, web

from .. import comfyui
from ..answers import Refused

MAX_UPLOAD_BYTES = 2 * 1024**3
"""Largest file, in bytes."""

FIELD = "file"
"""The part of the multipart body that holds the file."""

_CHUNK = 1024 * 1024
_KEPT_FREE_BYTES = 256 * 1024 * 1024
_PART_PREFIX = ".runflow-upload-"
_ABANDONED_SECONDS = 24 * 3600.0
_MAX_NAME_BYTES = 180
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f<>:"|?*\ud800-\udfff]')
_ANNOTATION = re.compile(r"\[(input|output|temp)\]$")
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)


async def receive(request: web.Request) -> dict[str, Any]:
    """Store the file of a multipart body. Returns `{name, subfolder, type}` as ComfyUI's own upload does; the name
    differs from the sent one where that is taken by other content, or cannot be used.

    Raises:
        Refused: no file, too large, or no room.
    """
    if request.content_type != "multipart/form-data":
        raise Refused("Send the file as multipart/form-data.", code="UNSUPPORTED_MEDIA_TYPE", status=415)
    folder = comfyui.input_folder()
    await asyncio.to_thread(_clear_abandoned, folder)
    try:
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader) and part.name == FIELD and part.filename:
                place = await _store(part, folder)
                return {"name": place.name, "subfolder": "", "type": "input"}
    except ValueError:
        raise Refused("The body is no multipart form.", code="INVALID_BODY") from None
    except ConnectionError:  # the person stopped it, or went away: no fault of ours
        raise Refused("The upload was broken off.", code="UPLOAD_BROKEN_OFF") from None
    raise Refused(f'Send the file as the part "{FIELD}", with its name.', code="FILE_MISSING")


def safe_name(sent: str) -> str:
    """A name for the input folder, on any system: no folder, no control character, no name that a system or ComfyUI
    reads as something else, and not too long. What is left of the sent one, its ending first.
    """
    name = _NOT_IN_NAMES.sub("_", re.split(r"[/\\]", sent)[-1]).strip(" .")
    while _ANNOTATION.search(name):  # ComfyUI reads "x [output]" as a file of another folder
        name = _ANNOTATION.sub("", name).rstrip(" .")
    if _DEVICES.match(name):
        name = f"_{name}"
    stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
    suffix = suffix if len(suffix.encode()) <= 20 else ""
    stem = (stem if suffix else name).encode()[: _MAX_NAME_BYTES - len(suffix.encode())].decode(errors="ignore")
    return f"{stem.rstrip(' .') or 'file'}{suffix}"


async def _store(part: BodyPartReader, folder: Path) -> Path:
    fresh = folder / f"{_PART_PREFIX}{secrets.token_hex(8)}.part"
    try:
        with await asyncio.to_thread(fresh.open, "xb") as file:
            size = 0
            room = min(MAX_UPLOAD_BYTES, shutil.disk_usage(folder).free - _KEPT_FREE_BYTES)
            while chunk := await part.read_chunk(_CHUNK):
                size += len(chunk)
                if size > MAX_UPLOAD_BYTES:
                    message = f"The file is larger than {MAX_UPLOAD_BYTES // 1024**3} GiB. Copy it into input/ by hand."
                    raise Refused(message, code="PAYLOAD_TOO_LARGE", status=413)
                if size > room:
                    raise Refused("The disk of ComfyUI's input folder is full.", code="NO_ROOM", status=507)
                await asyncio.to_thread(file.write, chunk)
        return await asyncio.to_thread(_place, fresh, folder, safe_name(part.filename or ""))
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()


def _place(fresh: Path, folder: Path, name: str) -> Path:
    """Give the file a name that is free; the same content under that name is used again."""
    stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
    number = 0
    while True:
        target = folder / (f"{stem} ({number}){suffix}" if number else name)
        try:
            # Reserved first: two uploads of one name must not take the same.
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            if target.is_file() and not target.is_symlink() and _same(fresh, target):
                return target
            number += 1
            continue
        os.replace(fresh, target)  # noqa: PTH105 (replaces on Windows too)
        return target


def _same(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        while chunk := first.read(_CHUNK):
            if chunk != second.read(_CHUNK):
                return False
    return True


def _clear_abandoned(folder: Path) -> None:
    """Remove what uploads left that were cut off by a crash, a day ago and more."""
    for left in folder.glob(f"{_PART_PREFIX}*.part"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                left.unlink()
