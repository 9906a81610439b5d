"""Models to upload, and the steps of an upload."""

import dataclasses
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from runflow.models import parts
from runflow.web.services import Services
from tests.support.application import open_client


@asynccontextmanager
async def accepting(services: Services, key: str, **changed: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of a server that takes models; `changed` settings and parts of the server besides."""
    settings = services.settings.model_copy(update={"accept_models": True, **changed.pop("settings", {})})
    async with open_client(dataclasses.replace(services, settings=settings, **changed), key) as client:
        yield client


def content(chunks: float, seed: int = 0) -> bytes:
    """A file of so many chunks that resembles no other."""
    size = int(parts.CHUNK_BYTES * chunks)
    return (hashlib.sha256(bytes([seed])).digest() * (size // 32 + 1))[:size]


def declaration(data: bytes, filename: str = "mine.safetensors") -> dict[str, Any]:
    """What a client says of a file."""
    return {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data), "filename": filename}


async def begin(client: httpx.AsyncClient, data: bytes) -> dict[str, Any]:
    """Open a session."""
    answer = await client.post("/v1/model-uploads", json=declaration(data))
    assert answer.status_code == 201, answer.text
    session: dict[str, Any] = answer.json()
    return session


async def send(client: httpx.AsyncClient, upload_id: str, data: bytes, start: int) -> httpx.Response:
    """Send the chunk that begins at `start`."""
    piece = data[start : start + parts.CHUNK_BYTES]
    headers = {"Content-Range": f"bytes {start}-{start + len(piece) - 1}/{len(data)}"}
    return await client.put(f"/v1/model-uploads/{upload_id}/chunks", content=piece, headers=headers)


async def upload(client: httpx.AsyncClient, data: bytes) -> dict[str, Any]:
    """All steps; returns the model."""
    session = await begin(client, data)
    for start in range(0, len(data), parts.CHUNK_BYTES):
        assert (await send(client, session["id"], data, start)).status_code == 200
    answer = await client.post(f"/v1/model-uploads/{session['id']}/confirmations")
    assert answer.status_code == 201, answer.text
    model: dict[str, Any] = answer.json()
    return model
