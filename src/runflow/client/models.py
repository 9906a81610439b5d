"""Model files: send one for the workers to fetch, once per content, and go on where a broken upload stopped.

The steps are those of docs/api/models.md, "Upload".
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from runflow.client.effects import Plan, Tell, computed
from runflow.client.errors import Conflict, NotFound
from runflow.client.exchange import Session, build, exchange, json_of
from runflow.client.records import Model

MODELS, UPLOADS = "/v1/models", "/v1/model-uploads"
HASH_BYTES = 16 * 1024 * 1024
"""So much is hashed between two words on how far it is."""
SEND_SECONDS = 300.0
"""How long a server may take to store a chunk."""
SLOWEST_CHECK = 20_000_000
"""Bytes per second at which the slowest server puts a model together."""
TRIES = 3
"""How often an upload is taken up again of which the server has less than it said, or which it has forgotten."""


@dataclass(frozen=True, slots=True)
class ModelProgress:
    """How far the upload of a model is. What the server has already is hashed only."""

    stage: Literal["hash", "send", "check"]
    done: int
    """Bytes; of a check, which the server does alone, 0."""
    total: int


Progress = Callable[[ModelProgress], Any] | None


def upload(session: Session, path: Path, progress: Progress) -> Plan[Model]:
    """Send what the server lacks of a file, and return the model, which may have been there already."""
    size = yield from computed(lambda: path.stat().st_size)
    sha256 = yield from _hash(path, size, progress)
    content = {"sha256": sha256, "size_bytes": size}
    asked = yield from json_of(session, "POST", "/v1/model-lookups", body={"items": [content]})
    known = asked["items"][0]["model_id"]
    if known is not None:
        return Model((yield from json_of(session, "GET", f"{MODELS}/{known}")))
    tries = 0
    while True:
        opened = yield from json_of(session, "POST", UPLOADS, body={**content, "filename": path.name})
        if "offset" not in opened:  # somebody else was faster
            return Model(opened)
        try:
            yield from _send(session, path, opened, progress)
            yield from _tell(progress, "check", 0, size)
            return (yield from _confirm(session, opened["id"], size))
        except (Conflict, NotFound):
            tries += 1
            if tries == TRIES:
                raise


def delete(session: Session, model: str | Mapping[str, Any], *, force: bool) -> Plan[None]:
    """Delete a model, given by its record or id."""
    model_id = model if isinstance(model, str) else model["id"]
    yield from json_of(session, "DELETE", f"{MODELS}/{quote(model_id, safe='')}", params={"force": force or None})


def _hash(path: Path, size: int, progress: Progress) -> Plan[str]:
    digest = hashlib.sha256()
    for start in range(0, size, HASH_BYTES):
        yield from _tell(progress, "hash", start, size)
        yield from computed(partial(_add, digest, path, start))
    yield from _tell(progress, "hash", size, size)
    return digest.hexdigest()


def _send(session: Session, path: Path, opened: Mapping[str, Any], progress: Progress) -> Plan[None]:
    size, chunk = opened["size_bytes"], opened["chunk_bytes"]
    for start in range(opened["offset"], size, chunk):
        yield from _tell(progress, "send", start, size)
        piece = yield from computed(partial(_read, path, start, chunk))
        headers = {
            "Content-Range": f"bytes {start}-{start + len(piece) - 1}/{size}",
            "Content-Type": "application/octet-stream",
        }
        request = build(session, "PUT", f"{UPLOADS}/{opened['id']}/chunks", headers=headers)
        yield from exchange(session, replace(request, body=piece, timeout=SEND_SECONDS))
    yield from _tell(progress, "send", size, size)


def _confirm(session: Session, upload_id: str, size: int) -> Plan[Model]:
    """Have the server check what was sent. Raises `Conflict` where bytes are missing."""
    patience = size / SLOWEST_CHECK
    ends = time.monotonic() + patience
    while True:
        try:
            path = f"{UPLOADS}/{upload_id}/confirmations"
            return Model((yield from json_of(session, "POST", path, extra_seconds=patience)))
        except Conflict as error:
            # A request whose answer was lost is at it still.
            if error.retry_after is None or time.monotonic() > ends:
                raise


def _read(path: Path, start: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(count)


def _add(digest: "hashlib._Hash", path: Path, start: int) -> None:
    digest.update(_read(path, start, HASH_BYTES))


def _tell(progress: Progress, stage: Literal["hash", "send", "check"], done: int, total: int) -> Plan[None]:
    if progress is not None:
        yield Tell(progress, ModelProgress(stage, done, total))
