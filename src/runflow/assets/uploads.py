"""Rules of the three-step upload: declare, send, confirm.

The signed PUT URL stays valid after the confirmation, so the bytes that were checked are copied to a key that nobody
can write to: an asset never changes. The copy has a name of its own per confirmation, so that two at the same time do
not meet; the one that closes the session wins, and the other answers with the same asset.
"""

import hashlib
import secrets
from typing import Any, BinaryIO
from uuid import UUID

from runflow import errors
from runflow.accounts.organizations.limits import require_storage
from runflow.assets import queries
from runflow.assets.folders import service as folders
from runflow.assets.images import thumbnails
from runflow.assets.images.check import check_image
from runflow.assets.media_types import asset_type, essence
from runflow.assets.schemas import Confirmation, UploadCreate, record
from runflow.assets.tables import AssetRow, AssetUploadRow
from runflow.db.unit_of_work import current_unit
from runflow.ids import new_id
from runflow.storage.keys import segment
from runflow.web.auth import Principal
from runflow.web.services import Services

UPLOAD_SECONDS = 3600
"""How long an upload URL is valid (docs/api/assets.md, "Uploads")."""
UPLOADS = "uploads"
ASSETS = "assets"
_CHUNK = 1024 * 1024


async def create(services: Services, caller: Principal, body: UploadCreate, base: str) -> dict[str, Any]:
    """Open an upload session. Raises `ValidationFailed` for a file over the limit, `LimitReached` for one too many."""
    allowed = services.settings.max_upload_bytes
    limit = services.storage.upload_limit(allowed)
    if body.size_bytes > limit:
        reason = services.storage.limit_source(allowed, "RUNFLOW_MAX_UPLOAD_BYTES")
        message = f"The file has {body.size_bytes} bytes; an upload has at most {limit} ({reason})."
        raise _refused(message, ["body", "size_bytes"], "less_than_equal")
    upload_id = new_id()
    key = f"{UPLOADS}/{upload_id}/{segment(body.filename)}"
    async with services.db.tenant(caller.org_id) as transaction:
        await require_storage(transaction, services.settings, caller.org_id, body.size_bytes)
        expires_at = await queries.add_upload(
            transaction,
            lifetime_seconds=UPLOAD_SECONDS,
            id=upload_id,
            org_id=caller.org_id,
            filename=body.filename,
            mime_type=body.mime_type,
            size_bytes=body.size_bytes,
            object_key=key,
            created_by=caller.key_id,
        )
    url = services.storage.upload_url(
        base,
        key,
        content_type=body.mime_type,
        size_bytes=body.size_bytes,
        max_bytes=body.size_bytes,
        seconds=UPLOAD_SECONDS,
    )
    return {"asset_id": upload_id, "upload_url": url, "expires_at": expires_at}


async def confirm(
    services: Services, caller: Principal, upload_id: UUID, body: Confirmation, base: str
) -> dict[str, Any]:
    """Check what was sent and make it an asset; the same asset again when it is one already.

    Raises `AssetNotFound` for an unknown session, `ValidationFailed` for an unknown folder, and when there are no
    bytes, or others than declared; those are removed, and the right ones can be sent until the URL expires.
    """
    async with services.db.tenant(caller.org_id) as transaction:
        # In this order: a session that is seen as confirmed has its asset already.
        session = await queries.get_upload(transaction, upload_id)
        asset = await queries.get_asset(transaction, upload_id)
        if asset is not None:
            return record(asset, services, base)
        if body.folder_id is not None:
            await folders.require(transaction, body.folder_id, "folder_id")
    if session is None or session.confirmed_at is not None:
        raise errors.AssetNotFound("There is no such upload session. Make one with POST /v1/asset-uploads.")
    key = f"{ASSETS}/{upload_id}/{secrets.token_hex(4)}/{segment(session.filename)}"
    try:
        asset = await _take_over(services, session, key, body.folder_id)
    except errors.NotFound:
        # Bytes that vanish between two looks were taken by a confirmation beside this one.
        async with services.db.tenant(caller.org_id) as transaction:
            asset = await queries.get_asset(transaction, upload_id)
        if asset is None:
            raise _refused(
                "No bytes were uploaded for this session. PUT the file to its `upload_url`, then confirm again.",
                ["path", "id"],
                "missing",
            ) from None
    return record(asset, services, base)


async def _take_over(services: Services, session: AssetUploadRow, key: str, folder_id: UUID | None) -> AssetRow:
    """Copy the bytes to `key`, check them there, and make the asset. Raises `NotFound` where there are none."""
    storage = services.storage
    await storage.copy(session.object_key, key)
    try:
        sha256 = await _check(services, session, key)
        thumbnail_key = await thumbnails.make_or_go_without(
            services, session.id, key, session.mime_type, session.size_bytes
        )
    except errors.ValidationFailed:
        await storage.delete([key, session.object_key])
        raise
    except BaseException:
        await storage.delete([key])
        raise
    made = {"object_key": key, "sha256": sha256, "thumbnail_key": thumbnail_key}
    try:
        asset, is_ours = await _insert(services, session, made, folder_id)
    except errors.RunflowError:
        await storage.delete([key])
        raise
    # Any other failure, such as of a connection in the commit, does not say whether there is an asset now that has the
    # copy: what no asset has goes with the session, or with the next confirmation.
    if not is_ours:
        await storage.delete([key])
        return asset
    if current_unit() is None:
        left_over = [other async for other in storage.list(f"{ASSETS}/{session.id}") if other != key]
        await storage.delete([session.object_key, *left_over])
    # Else the asset is not committed yet, and may never be: the sweep removes what was sent once its URL has expired.
    return asset


async def _check(services: Services, session: AssetUploadRow, key: str) -> str:
    """Return the hash of the stored bytes. Raises `ValidationFailed` when they are not what was declared."""
    stored = await services.storage.head(key)
    if stored is None:
        raise errors.NotFound
    if stored.size_bytes != session.size_bytes:
        raise _refused(
            f"The uploaded file has {stored.size_bytes} bytes, but {session.size_bytes} were declared. It was "
            "removed: send the whole file again, or make a new session.",
            ["body", "size_bytes"],
            "size_mismatch",
        )
    mime_type = session.mime_type
    if stored.content_type is not None and essence(stored.content_type) != essence(mime_type):
        raise _refused(
            f"The uploaded file is {stored.content_type}, but {mime_type} was declared. It was removed: send it with "
            "the declared type, or make a new session.",
            ["body", "mime_type"],
            "type_mismatch",
        )

    def look(file: BinaryIO) -> str:
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        file.seek(0)
        check_image(file, mime_type)
        return digest.hexdigest()

    return await services.storage.examine(key, look)


async def _insert(
    services: Services, session: AssetUploadRow, made: dict[str, str | None], folder_id: UUID | None
) -> tuple[AssetRow, bool]:
    """Close the session and make its asset; where another confirmation was first, return that one's asset and False.

    A folder that was deleted meanwhile is no reason to lose the file: it goes to the top.
    """
    async with services.db.tenant(session.org_id) as transaction:
        if await queries.close_upload(transaction, session.id):
            asset = await queries.add_asset(
                transaction,
                **made,
                folder_id=folder_id if folder_id and await folders.hold(transaction, folder_id) else None,
                id=session.id,
                org_id=session.org_id,
                name=session.filename,
                mime_type=session.mime_type,
                size_bytes=session.size_bytes,
                asset_type=asset_type(session.mime_type),
                source_type="upload",
                created_by=session.created_by,
            )
            return asset, True
        found = await queries.get_asset(transaction, session.id)
        if found is None:
            raise errors.AssetNotFound
        return found, False


def _refused(message: str, loc: list[str], kind: str) -> errors.ValidationFailed:
    return errors.ValidationFailed(message, errors=[{"loc": loc, "msg": message, "type": kind}])
