"""Downloading one model: goes on where it broke off, checked by size, SHA-256 and format, put into place at once."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import aiohttp

from ..cancellation import Cancelled, unless_cancelled
from .fetch import Fetcher, FetchFailed
from .lines import ModelLine
from .safe_paths import PathRefused, inside

Progress = Callable[[str, int, int], None]
"""Called with the step, and with done and total of it (0: not known)."""

_CHUNK = 1 << 20
_TRIES = 5
_FIRST_PAUSE_SECONDS = 1.0
KEPT_FREE_BYTES = 256 << 20
"""What a download leaves free on a disk."""

_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_MAX_HEADER = 100 << 20


class DownloadFailed(Exception):
    """A model could not be had; the message says why."""


@dataclass(frozen=True)
class _Part:
    """A file that is being downloaded, and beside it what is needed to go on with it."""

    place: Path

    @property
    def note(self) -> Path:
        return self.place.with_name(self.place.name + ".json")

    def size(self) -> int:
        try:
            return self.place.stat().st_size
        except OSError:
            return 0

    def remember(self, url: str, validator: str | None) -> None:
        self.note.write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")

    def validator(self, url: str) -> str | None:
        """What the host called this content when it was begun; None: it must begin anew, or is known by its hash."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return note.get("validator") if isinstance(note, dict) and note.get("url") == url else None

    def drop(self) -> None:
        for place in (self.place, self.note):
            with contextlib.suppress(OSError):
                place.unlink()


def existing_part(line: ModelLine) -> int:
    """How many bytes of the file an earlier try left here."""
    return _part(line).size()


async def inspect_file(url: str, fetcher: Fetcher) -> int | None:
    """The size of the file at an address, None where its host does not tell. Nothing of it is kept.

    Raises:
        SourceRefused: the address must not be asked.
        FetchFailed: there is no file.
    """
    source = fetcher.sources.check(url)
    if source.scheme == "file":
        try:
            return source.path.stat().st_size
        except OSError as error:
            raise FetchFailed(f"the file is not there ({error.strerror}).") from None
    async with fetcher.get(url, {"Range": "bytes=0-0"}) as answer:
        _refuse_what_is_no_file(answer)
        if answer.status == 416:
            raise FetchFailed(f"{source.host} has only an empty file there.")
        span = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        return int(span[2]) if answer.status == 206 and span else answer.content_length


async def download(line: ModelLine, fetcher: Fetcher, cancelled: threading.Event, progress: Progress) -> None:
    """Get the model of an approved line and put it into its place. What a broken connection left is kept for later.

    Raises:
        DownloadFailed, FetchFailed, SourceRefused, PathRefused: it is not there, and why.
        Cancelled: `cancelled` was set; nothing is left.
    """
    place = inside(line.folder, line.relative)
    await asyncio.to_thread(place.parent.mkdir, parents=True, exist_ok=True)
    part = _part(line)
    source = fetcher.sources.check(line.url)
    try:
        if source.scheme == "file":
            await asyncio.to_thread(_copy, source.path, part, cancelled, progress)
        else:
            await unless_cancelled(_with_patience(line, fetcher, part, cancelled, progress), cancelled)
        await asyncio.to_thread(_check, line, part, cancelled, progress)
        await asyncio.to_thread(_put, part, inside(line.folder, line.relative))
    except FetchFailed:
        raise
    except BaseException:
        part.drop()
        raise


def _part(line: ModelLine) -> _Part:
    place = line.folder.resolve().joinpath(*line.relative.parts)
    return _Part(place.with_name(f".{place.name}.{line.id}.runflow-part"))


async def _with_patience(
    line: ModelLine, fetcher: Fetcher, part: _Part, cancelled: threading.Event, progress: Progress
) -> None:
    left, pause = _TRIES, _FIRST_PAUSE_SECONDS
    while True:
        before = part.size()
        try:
            await _transfer(line, fetcher, part, cancelled, progress)
            return
        except FetchFailed:
            left = _TRIES if part.size() > before else left - 1
            if left <= 0:
                raise
        progress("Waiting for the host", part.size(), line.size_bytes or 0)
        await asyncio.sleep(pause)
        pause = _FIRST_PAUSE_SECONDS if part.size() > before else min(pause * 2, 30)


async def _transfer(
    line: ModelLine, fetcher: Fetcher, part: _Part, cancelled: threading.Event, progress: Progress
) -> None:
    """One request: from the beginning, or from where the part ends if it is still the same content."""
    done, validator = part.size(), part.validator(line.url)
    headers: dict[str, str] = {}
    if done and (validator or line.sha256):
        headers["Range"] = f"bytes={done}-"
        if validator:
            headers["If-Range"] = validator
    async with fetcher.get(line.url, headers) as answer:
        _refuse_what_is_no_file(answer)
        if answer.status == 416:  # what is there is all of it, or too much; the check will tell
            if line.size_bytes != done:
                part.drop()
                raise FetchFailed("The file at its host has become another one.")
            return
        span = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        begins = int(span[1]) if answer.status == 206 and span else 0
        if begins != done:
            if begins:
                raise FetchFailed("The host sends another part of the file than was asked for.")
            done = 0
        total = int(span[2]) if answer.status == 206 and span else answer.content_length or 0
        if line.size_bytes is not None and total not in (0, line.size_bytes):
            raise DownloadFailed(f"The host sends {total:,} bytes instead of {line.size_bytes:,}.")
        part.remember(line.url, _validator(answer))
        mode = "ab" if done else "wb"
        with await asyncio.to_thread(part.place.open, mode) as file:
            await _receive(answer, file, line, done, total, cancelled, progress)
    if total and part.size() < total:
        raise FetchFailed("The connection broke off.")


async def _receive(
    answer: aiohttp.ClientResponse,
    file: Any,
    line: ModelLine,
    done: int,
    total: int,
    cancelled: threading.Event,
    progress: Progress,
) -> None:
    most = line.size_bytes or total
    waiting = bytearray()
    progress("Downloading", done, most)
    try:
        async for chunk in answer.content.iter_chunked(_CHUNK):
            if cancelled.is_set():
                raise Cancelled
            waiting += chunk
            done += len(chunk)
            if most and done > most:
                raise DownloadFailed(f"The host sends more than the {most:,} bytes that it announced.")
            if len(waiting) >= _CHUNK:
                await asyncio.to_thread(_write, file, bytes(waiting), line.folder)
                waiting.clear()
            progress("Downloading", done, most)
    except (aiohttp.ClientError, asyncio.TimeoutError, ConnectionError) as error:
        raise FetchFailed("The connection broke off.") from error
    finally:
        await asyncio.to_thread(_write, file, bytes(waiting), line.folder)


def _write(file: Any, content: bytes, folder: Path) -> None:
    free = shutil.disk_usage(folder).free if folder.is_dir() else KEPT_FREE_BYTES
    if content and free < KEPT_FREE_BYTES + len(content):
        raise DownloadFailed("The disk is full but for a little that other programs need. Make room, then try again.")
    file.write(content)


def _copy(source: Path, part: _Part, cancelled: threading.Event, progress: Progress) -> None:
    total, done = source.stat().st_size, 0
    with source.open("rb") as content, part.place.open("wb") as target:
        while chunk := content.read(4 * _CHUNK):
            if cancelled.is_set():
                raise Cancelled
            _write(target, chunk, part.place.parent)
            done += len(chunk)
            progress("Copying", done, total)


def _check(line: ModelLine, part: _Part, cancelled: threading.Event, progress: Progress) -> None:
    size, done = part.size(), 0
    if line.size_bytes is not None and size != line.size_bytes:
        raise DownloadFailed(f"The file has {size:,} bytes instead of {line.size_bytes:,}; it was deleted.")
    if wrong := format_fault(part.place, line.relative.suffix.lower()):
        raise DownloadFailed(f"{wrong}; it was deleted.")
    if line.sha256 is None:
        return
    digest = hashlib.sha256()
    with part.place.open("rb") as file:
        while chunk := file.read(4 * _CHUNK):
            if cancelled.is_set():
                raise Cancelled
            digest.update(chunk)
            done += len(chunk)
            progress("Checking", done, size)
    if digest.hexdigest() != line.sha256:
        found = digest.hexdigest()
        raise DownloadFailed(f"Its SHA-256 is {found[:12]}… and not {line.sha256[:12]}…; the file was deleted.")


def _put(part: _Part, place: Path) -> None:
    taken = "there is already something at this place, and nothing is ever overwritten."
    try:
        os.link(part.place, place)
    except FileExistsError:
        raise PathRefused(taken) from None
    except OSError:  # a file system without links, where only Windows refuses to rename onto a file
        if os.path.lexists(place):
            raise PathRefused(taken) from None
        part.place.rename(place)
    part.drop()


def _refuse_what_is_no_file(answer: aiohttp.ClientResponse) -> None:
    host = answer.url.host
    if answer.content_type == "text/html":
        raise FetchFailed(f"{host} answers with a web page instead of a file. It may want a login.")
    if answer.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
        raise FetchFailed(f"{host} sends the file compressed, although it was asked not to.")
    if answer.status not in (200, 206, 416):
        raise FetchFailed(f"{host} answers {answer.status} instead of a file.")


def _validator(answer: aiohttp.ClientResponse) -> str | None:
    tag = answer.headers.get("ETag")
    if tag and not tag.startswith("W/"):
        return tag
    return answer.headers.get("Last-Modified")


def format_fault(place: Path, ending: str) -> str | None:
    """What is wrong with a file that was downloaded as `ending`, such as `.safetensors`; None: nothing that shows.

    A login page, half a file, or a pickle under another name must not pass for a model. Nothing is loaded.
    """
    size = place.stat().st_size
    if not size:
        return "What arrived is an empty file"
    with place.open("rb") as file:
        if ending in (".safetensors", ".sft") and _safetensors_size(file, size) != size:
            return "What arrived is no safetensors file, or not all of one"
        if ending == ".gguf" and file.read(4) != b"GGUF":
            return "What arrived is no GGUF file"
    return None


def _safetensors_size(file: IO[bytes], size: int) -> int | None:
    """How large a safetensors file is by its own header; None: it has none."""
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, _MAX_HEADER):
        return None
    try:
        header = json.loads(file.read(length))
        ends = [int(row["data_offsets"][1]) for name, row in header.items() if name != "__metadata__"]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None
    return 8 + length + max(ends, default=0)
