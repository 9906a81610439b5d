"""Signed upload and download of objects: the URL is the only permission (docs/api/assets.md, "Signed URLs")."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse

from runflow import errors
from runflow.storage.disk import BLOCK_BYTES
from runflow.storage.download import download_headers, is_unchanged
from runflow.storage.ranges import parse_range
from runflow.web.hot_routes import ANY_QUERY
from runflow.web.responses import json_response
from runflow.web.route_table import Access, Tag
from runflow.web.router import Router
from runflow.web.services import OutputUploads, Services, services

TAG = Tag("Storage", "Files behind signed URLs.")
router = Router(TAG)

_BYTES = "application/octet-stream"
"""What clients that were generated send, whatever the file is: taken like the type that was declared."""
_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {_BYTES: {"schema": {"type": "string", "format": "binary"}}},
    },
    "security": [],
}


@router.put(
    "/v1/storage/{key:path}",
    access=Access.SIGNED,
    errors=(errors.UnsupportedMediaType, errors.Conflict),
    streams_body=True,
    summary="Upload to a signed URL",
    openapi_extra=_UPLOAD,
)
async def upload(key: str, request: Request, services: Annotated[Services, Depends(services)]) -> Response:
    """Store the body under the key. Needs no API key; may be repeated until the URL expires.

    A URL for an output of a run replaces nothing (409 for other bytes) and ends with the lease of its worker (403).

    403 when the URL is expired or altered, 415 for another `Content-Type` than the declared one or
    `application/octet-stream`, 413 for more bytes and 422 for fewer bytes than declared, 503 when storage is full.
    Whatever fails leaves nothing behind.
    """
    grant = services.storage.signer.upload_grant(key, request.query_params)
    sent_type = request.headers.get("Content-Type", "")
    if not (_same_type(sent_type, grant.content_type) or _same_type(sent_type, _BYTES)):
        raise errors.UnsupportedMediaType(
            f"This URL takes `Content-Type: {grant.content_type}`, as it was declared; the request has "
            f"{'`' + sent_type + '`' if sent_type else 'none'}. Send the declared type, or make a new upload session."
        )
    most = grant.max_bytes if grant.size_bytes is None else min(grant.max_bytes, grant.size_bytes)
    length = request.headers.get("Content-Length")
    if length is not None and length.isdecimal() and int(length) > most:
        raise errors.PayloadTooLarge(f"The file has {length} bytes; this URL takes {most}.")
    body = _body(request)
    if grant.once:
        await services.outputs.check(key)
        body = _still_welcome(body, services.outputs, key)
    stored = await services.storage.put(
        key, body, limit=grant.max_bytes, size_bytes=grant.size_bytes, settle=False, replace=not grant.once
    )
    return json_response({"size_bytes": stored.size_bytes, "sha256": stored.sha256})


@router.hot("PUT", "/v1/storage/{key:path}", query=ANY_QUERY)
async def hot_upload(request: Request) -> Response:
    """Answer as `upload` does."""
    return await upload(request.path_params["key"], request, await services(request))


@router.get(
    "/v1/storage/{key:path}",
    access=Access.SIGNED,
    errors=(errors.NotFound, errors.RangeNotSatisfiable),
    summary="Download from a signed URL",
    openapi_extra={"security": []},
)
async def download(key: str, request: Request, services: Annotated[Services, Depends(services)]) -> Response:
    """Return the object, or the part that `Range` asks for. No API key; 403 when the URL is expired or altered."""
    return await _serve(key, request, services)


@router.head("/v1/storage/{key:path}", access=Access.SIGNED)
async def describe(key: str, request: Request, services: Annotated[Services, Depends(services)]) -> Response:
    """Answer as the GET of the same URL does, without the body."""
    return await _serve(key, request, services)


async def _serve(key: str, request: Request, services: Services) -> Response:
    storage = services.storage
    grant = storage.signer.download_grant(key, request.query_params)
    found = await storage.stat(key)
    if found is None:
        raise errors.NotFound("This file is no longer stored. Read its record again: it may have expired.")
    headers = download_headers(grant, found.etag or "")
    if is_unchanged(request.headers.get("If-None-Match"), found.etag):
        return Response(status_code=304, headers=headers)
    # A part is only of use to a client that holds the other parts of the same bytes.
    condition = request.headers.get("If-Range")
    asked = request.headers.get("Range") if condition in (None, found.etag) else None
    part = parse_range(asked, found.size_bytes)
    start, end = (part.start, part.end) if part else (0, found.size_bytes)
    headers["Content-Length"] = str(end - start)
    status = 206 if part else 200
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.size_bytes}"
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    content = await storage.open(key, start, end)
    if end - start <= BLOCK_BYTES:
        return Response(b"".join([chunk async for chunk in content]), status, headers)
    return StreamingResponse(content, status, headers)


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            if chunk:
                yield chunk
    except ClientDisconnect:
        raise errors.BadRequest("The connection ended before the whole file was there. Send it again.") from None


async def _still_welcome(body: AsyncIterator[bytes], outputs: OutputUploads, key: str) -> AsyncIterator[bytes]:
    """Yield the body, and look again at its end: a large one takes its time, and the lease may end meanwhile."""
    taken = 0
    async for chunk in body:
        taken += len(chunk)
        yield chunk
    if taken > BLOCK_BYTES:
        await outputs.check(key)


def _same_type(sent: str, declared: str) -> bool:
    return _normal(sent) == _normal(declared)


def _normal(content_type: str) -> str:
    return ";".join(part.strip() for part in content_type.lower().split(";"))
