"""Files to upload, and the three steps of an upload."""

import io
from typing import Any

import httpx
from PIL import Image


def picture(kind: str = "PNG", size: tuple[int, int] = (64, 48)) -> bytes:
    """A small picture of this Pillow format."""
    out = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(out, kind)
    return out.getvalue()


async def open_session(
    client: httpx.AsyncClient, content: bytes, mime_type: str = "image/png", filename: str = "photo.png"
) -> dict[str, Any]:
    """Step one: declare."""
    body = {"filename": filename, "mime_type": mime_type, "size_bytes": len(content)}
    answer = await client.post("/v1/asset-uploads", json=body)
    assert answer.status_code == 201, answer.text
    session: dict[str, Any] = answer.json()
    return session


async def send(url: str, content: bytes, mime_type: str, client: httpx.AsyncClient) -> httpx.Response:
    """Step two, with nothing but the declared type: no key."""
    return await client.put(url, content=content, headers={"Content-Type": mime_type, "Authorization": ""})


async def confirm(client: httpx.AsyncClient, upload_id: str, body: Any = None) -> httpx.Response:
    """Step three."""
    return await client.post(f"/v1/asset-uploads/{upload_id}/confirmations", json={} if body is None else body)


async def upload(
    client: httpx.AsyncClient, content: bytes, mime_type: str = "image/png", filename: str = "photo.png"
) -> dict[str, Any]:
    """All three steps; returns the asset."""
    session = await open_session(client, content, mime_type, filename)
    sent = await send(session["upload_url"], content, mime_type, client)
    assert sent.status_code == 200, sent.text
    answer = await confirm(client, session["asset_id"])
    assert answer.status_code == 201, answer.text
    asset: dict[str, Any] = answer.json()
    return asset


def unsigned(asset: dict[str, Any]) -> dict[str, Any]:
    """The record without its URLs, which each answer signs anew: in another second they are others."""
    return {**asset, "url": None, "thumbnail_url": None}
