"""Files that come inside a request, as `data:` URIs (RFC 2397), become assets (docs/api/assets.md, "Uploads")."""

import asyncio
import base64
import binascii
import io
import mimetypes
import re
from urllib.parse import unquote_to_bytes
from uuid import UUID

from runflow import errors
from runflow.accounts.organizations.limits import require_storage
from runflow.assets import queries
from runflow.assets.images.check import check_image
from runflow.assets.media_types import MIME_TYPE, asset_type, essence
from runflow.ids import new_id
from runflow.storage.keys import segment
from runflow.storage.signed_urls import DownloadGrant
from runflow.storage.store import StoredObject, not_found
from runflow.web.auth import Principal
from runflow.web.services import Services

UNKNOWN_TYPE = "application/octet-stream"


async def store_data_uri(services: Services, caller: Principal, data_uri: str, name: str) -> UUID:
    """Make an asset of a `data:` URI of at most 1 MiB and return its id.

    `name` becomes the file's name, with a suffix for its type where it has none. Its thumbnail is made when the asset
    is read: whoever dispatches a run is not kept waiting for it. Raises `ValidationFailed` for a URI that cannot be
    read, is too large, or holds an image that is none, `LimitReached` where the organization stores too much already.
    """
    mime_type, content = await asyncio.to_thread(_read_data_uri, data_uri)
    asset_id = new_id()
    filename = segment(name)
    if "." not in filename:
        filename += mimetypes.guess_extension(essence(mime_type)) or ""
    key = f"assets/{asset_id}/{segment(filename)}"
    stored = await services.storage.put(key, content, limit=MAX_DATA_URI_BYTES, content_type=mime_type)
    await _record(services, caller, asset_id, filename, mime_type, stored)
    return asset_id


async def store_copy(services: Services, caller: Principal, asset_id: UUID, source: DownloadGrant) -> None:
    """Make an asset with this new id of a file that this server stores already, such as an output of a run.

    It is kept and removed as one that came as a `data:` URI. Raises `NotFound` where the file is gone, `LimitReached`.
    """
    filename = segment(source.filename or source.key.rpartition("/")[2])
    key = f"assets/{asset_id}/{filename}"
    await services.storage.copy(source.key, key)
    stored = await services.storage.head(key)
    if stored is None:
        raise not_found()
    await _record(services, caller, asset_id, filename, source.content_type or UNKNOWN_TYPE, stored)


async def _record(
    services: Services, caller: Principal, asset_id: UUID, filename: str, mime_type: str, stored: StoredObject
) -> None:
    """Add the row of a file that was just stored; the file goes again where the row cannot be."""
    try:
        async with services.db.tenant(caller.org_id) as transaction:
            await require_storage(transaction, services.settings, caller.org_id, stored.size_bytes)
            await queries.add_asset(
                transaction,
                id=asset_id,
                org_id=caller.org_id,
                name=filename,
                object_key=stored.key,
                mime_type=mime_type,
                size_bytes=stored.size_bytes,
                sha256=stored.sha256,
                asset_type=asset_type(mime_type),
                source_type=queries.INLINE,
                created_by=caller.key_id,
            )
    except BaseException:
        await services.storage.delete([stored.key])
        raise


def _read_data_uri(data_uri: str) -> tuple[str, bytes]:
    mime_type, content = parse_data_uri(data_uri)
    check_image(io.BytesIO(content), mime_type)
    return mime_type, content


MAX_DATA_URI_BYTES = 1024 * 1024
"""Decoded bytes (docs/api/runs.md, "Values")."""

_WHITESPACE = re.compile(r"\s+")


def parse_data_uri(uri: str) -> tuple[str, bytes]:
    """Return MIME type and bytes. Raises `ValidationFailed` when the URI cannot be read or holds more than 1 MiB."""
    scheme, _, rest = uri.partition(":")
    header, comma, data = rest.partition(",")
    if scheme.lower() != "data" or not comma:
        raise errors.ValidationFailed("This is no data URI: it has the form `data:image/png;base64,…`.")
    header, is_base64 = _split_base64(header)
    mime_type = header or "text/plain;charset=US-ASCII"
    if mime_type.startswith(";"):
        mime_type = "text/plain" + mime_type
    if len(mime_type) > 255 or not re.fullmatch(MIME_TYPE, mime_type):
        raise errors.ValidationFailed("The data URI's type is not a MIME type such as `image/png`.")
    # What cannot fit any more is not decoded at all: one byte takes at most three characters.
    if len(data) > MAX_DATA_URI_BYTES * 3 + 4:
        raise _too_large()
    content = _decode(data) if is_base64 else unquote_to_bytes(data)
    if len(content) > MAX_DATA_URI_BYTES:
        raise _too_large()
    if not content:
        raise errors.ValidationFailed("The data URI holds no bytes.")
    return mime_type, content


def _split_base64(header: str) -> tuple[str, bool]:
    head, semicolon, last = header.rpartition(";")
    if semicolon and last.strip().lower() == "base64":
        return head, True
    return header, False


def _decode(data: str) -> bytes:
    plain = _WHITESPACE.sub("", data).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise errors.ValidationFailed("The data URI's base64 text cannot be decoded.") from None


def _too_large() -> errors.ValidationFailed:
    return errors.ValidationFailed(
        f"The data URI holds more than {MAX_DATA_URI_BYTES} bytes. Upload the file (POST /v1/asset-uploads) and send "
        "its `runflow://assets/…` reference instead."
    )
