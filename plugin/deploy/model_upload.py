"""Uploading models that exist on this machine only: found again by their content, so every attempt goes on where the
last one ended, in this ComfyUI's life or an earlier one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .platform import DeployFailed, Platform

_TRIES = 6
_LONGEST_PAUSE = 15.0
_PIECE = 256 * 1024
_JOINING_SECONDS = 3600.0
"""How long a server may take to put a large file together and check it."""
_MOST_LOOKED_UP = 1000
_MAY_PASS = (404, 409, 429)
"""An upload that was forgotten, a chunk at a wrong offset, a pause that the server asks for."""


@dataclass(frozen=True)
class LocalModel:
    """A model file of this machine: its path below models/, and its content."""

    path: str
    place: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Offer:
    """A model that the server would take. `received_bytes`: how much of it is there already."""

    model: LocalModel
    received_bytes: int

    def describe(self) -> dict[str, Any]:
        """What the page shows."""
        size, path = self.model.size_bytes, self.model.path
        return {"path": path, "size_bytes": size, "received_bytes": self.received_bytes}


async def offers(platform: Platform, models: Sequence[LocalModel]) -> list[Offer]:
    """Those of these models that the server lacks and takes; none where it takes none, or this key may not ask."""
    if not models:
        return []
    asked = {model.sha256: model for model in models[:_MOST_LOOKED_UP]}
    items = [{"sha256": model.sha256, "size_bytes": model.size_bytes} for model in asked.values()]
    try:
        answer = await platform.ask("lookup", "POST", "/v1/model-lookups", {"items": items})
    except DeployFailed as failure:
        if failure.refused:
            return []  # an older server, or a key without the scope: the deployment goes on without
        raise
    largest, rows = answer.get("max_bytes"), answer.get("items")
    if answer.get("accepts_uploads") is not True or not isinstance(rows, list):
        return []
    found = []
    for row in rows:
        model = asked.get(str(row.get("sha256"))) if isinstance(row, dict) and row.get("model_id") is None else None
        if model is not None and (not isinstance(largest, int) or model.size_bytes <= largest):
            received = row.get("received_bytes")
            found.append(Offer(model, received if isinstance(received, int) else 0))
    return found


async def send_model(platform: Platform, model: LocalModel, progress: Callable[[int, int], None]) -> None:
    """Upload what the server lacks of a model; `progress` hears of the bytes that are there and of all.

    Raises:
        DeployFailed: the server refuses, does not answer for long, or the file cannot be read.
    """
    stage, failures, furthest = f"upload of {model.path}", 0, -1
    patience_ends = time.monotonic() + _JOINING_SECONDS
    while True:
        try:
            session = await _begin(platform, stage, model)
            if session is None:
                progress(model.size_bytes, model.size_bytes)
                return
            if session.offset > furthest:
                furthest, failures = session.offset, 0
            await _send_rest(platform, stage, model, session, progress)
            place = quote(session.id, safe="")
            path = f"/v1/model-uploads/{place}/confirmations"
            await platform.ask(stage, "POST", path, {}, answer_seconds=_JOINING_SECONDS)
            return
        except DeployFailed as failure:
            # All bytes are there, and a request whose answer was lost still puts them together.
            joining = failure.status == 409 and furthest == model.size_bytes and time.monotonic() < patience_ends
            failures += 0 if joining else 1
            if failures >= _TRIES or (failure.refused and failure.status not in _MAY_PASS):
                raise
        await asyncio.sleep(min(2.0 ** max(failures - 1, 0), _LONGEST_PAUSE))


@dataclass(frozen=True)
class _Session:
    id: str
    offset: int
    chunk_bytes: int


async def _begin(platform: Platform, stage: str, model: LocalModel) -> _Session | None:
    """The session that is open for this content, or a new one; None where the model is there."""
    declared = {"sha256": model.sha256, "size_bytes": model.size_bytes, "filename": model.place.name}
    answer = await platform.ask(stage, "POST", "/v1/model-uploads", declared)
    if "offset" not in answer:
        return None
    try:
        session = _Session(str(answer["id"]), int(answer["offset"]), int(answer["chunk_bytes"]))
    except (KeyError, TypeError, ValueError):
        raise DeployFailed(stage, "the server named no place to upload to.", refused=True) from None
    if session.chunk_bytes <= 0 or session.offset < 0:
        raise DeployFailed(stage, "the server named no place to upload to.", refused=True)
    return session


async def _send_rest(
    platform: Platform, stage: str, model: LocalModel, session: _Session, progress: Callable[[int, int], None]
) -> None:
    path, total = f"/v1/model-uploads/{quote(session.id, safe='')}/chunks", model.size_bytes
    for start in range(session.offset, total, session.chunk_bytes):
        length = min(session.chunk_bytes, total - start)
        try:
            chunk = await asyncio.to_thread(_read, model.place, start, length)
        except OSError as error:
            raise DeployFailed(
                stage, f"{model.place} cannot be read: {error.strerror or error}.", refused=True
            ) from None
        if len(chunk) != length:
            raise DeployFailed(stage, "the file is shorter than before.", "Deploy again.", refused=True)
        headers = {"Content-Range": f"bytes {start}-{start + length - 1}/{total}", "Content-Length": str(length)}
        await platform.send(stage, "PUT", path, _pieces(chunk, start, total, progress), headers)
    progress(total, total)


async def _pieces(
    chunk: bytes, start: int, total: int, progress: Callable[[int, int], None]
) -> AsyncIterator[memoryview]:
    view = memoryview(chunk)
    for first in range(0, len(chunk), _PIECE):
        progress(start + first, total)
        yield view[first : first + _PIECE]


def _read(place: Path, start: int, length: int) -> bytes:
    with place.open("rb") as file:
        file.seek(start)
        return file.read(length)
