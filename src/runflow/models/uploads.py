"""Rules of uploading a model: declare its content, send its chunks, confirm; every step may be repeated.

What was begun and not confirmed is swept away.
"""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.accounts.organizations.limits import require_storage
from runflow.db.set_aside import RETENTION_SECONDS, SetAside
from runflow.db.transaction import Transaction
from runflow.db.unit_of_work import current_unit
from runflow.ids import new_id
from runflow.models import queries
from runflow.models.parts import (
    STALE_SECONDS,
    PartMissing,
    part_key,
    parts_prefix,
    read_chunk,
    whole,
    whole_key,
    whole_prefix,
)
from runflow.models.queries import StaleUpload
from runflow.models.schemas import ModelUploadCreate, model_record, upload_record
from runflow.models.tables import ModelRow, ModelUploadRow
from runflow.web.auth import Principal
from runflow.web.services import Services

OFFSET_HEADER = "Upload-Offset"
"""Holds the right offset where a chunk came at a wrong one."""
_AGAIN_SECONDS = 5


class ModelUploads:
    """The uploads of one server process. Each method raises `ModelUploadsDisabled` where the operator wants none."""

    def __init__(self, services: Services) -> None:
        """Serve with these parts."""
        self._services = services
        self._joining: set[UUID] = set()

    async def create(self, caller: Principal, body: ModelUploadCreate) -> tuple[dict[str, Any], bool]:
        """Return the session that is open for this content, or a new one; where the model is there already, its
        record and True. Raises `ValidationFailed` for a size that cannot be, `LimitReached` for one too much.
        """
        self._require_enabled()
        limit = self._services.settings.max_model_bytes
        if body.size_bytes > limit:
            raise _wrong_size(f"The model has {body.size_bytes} bytes; this server takes {limit} at most.")
        async with self._services.db.tenant(caller.org_id) as transaction:
            model = (await queries.by_hashes(transaction, [body.sha256])).get(body.sha256)
            if model is not None and model.size_bytes != body.size_bytes:
                raise _wrong_size(f"The file with this SHA-256 has {model.size_bytes} bytes.")
            if model is not None:
                return model_record(model), True
            if not await queries.is_open(transaction, body.sha256, body.size_bytes):
                await require_storage(transaction, self._services.settings, caller.org_id, body.size_bytes)
            session = await queries.open_upload(
                transaction,
                id=new_id(),
                org_id=caller.org_id,
                sha256=body.sha256,
                size_bytes=body.size_bytes,
                filename=body.filename,
                created_by=caller.key_id,
            )
        return upload_record(session), False

    async def get(self, caller: Principal, upload_id: UUID) -> dict[str, Any]:
        """Return an open session: where to go on. Raises `ModelUploadNotFound`."""
        self._require_enabled()
        return upload_record(await self._open_session(caller, upload_id))

    async def receive(
        self,
        caller: Principal,
        upload_id: UUID,
        content_range: str | None,
        body: AsyncIterator[bytes],
    ) -> dict[str, Any]:
        """Store a chunk, and return the session with its new offset.

        Raises `ModelUploadNotFound`, `Conflict` for a chunk behind a gap, and what `read_chunk` and storage raise.
        """
        self._require_enabled()
        session = await self._open_session(caller, upload_id)
        chunk = read_chunk(content_range, session.size_bytes)
        if chunk.start > session.received_bytes:
            raise _wrong_offset(session.received_bytes)
        storage, key = self._services.storage, part_key(upload_id, chunk.start)
        await storage.put(key, body, limit=chunk.size, size_bytes=chunk.size)
        async with self._services.db.tenant(caller.org_id) as transaction:
            noted = await queries.note_received(transaction, upload_id, start=chunk.start, end=chunk.end)
        if noted is None:
            await storage.delete([key])
            raise errors.ModelUploadNotFound
        return upload_record(noted)

    async def confirm(self, caller: Principal, upload_id: UUID) -> dict[str, Any]:
        """Put the chunks together, check them, and return the model; the same model again when it is one already.

        Raises `ModelUploadNotFound`, `Conflict` when bytes are missing or another request is at it in this process,
        `ValidationFailed` when the content has another hash; then nothing stays.
        """
        self._require_enabled()
        async with self._services.db.tenant(caller.org_id) as transaction:
            session = await queries.get_upload(transaction, upload_id)
            if session is None:
                raise errors.ModelUploadNotFound
            model = (await queries.by_hashes(transaction, [session.sha256])).get(session.sha256)
            if model is None and current_unit() is None:  # a unit's would be seen by nobody, and locks the row
                await queries.touch(transaction, upload_id)
        if model is not None:
            await self._close(session)
            return model_record(model)
        if session.confirmed_at is not None:
            raise errors.ModelUploadNotFound
        if session.received_bytes != session.size_bytes:
            raise _wrong_offset(session.received_bytes)
        if upload_id in self._joining:
            raise errors.Conflict(
                "This model is being put together and checked for another request. Ask again in a moment.",
                headers={"Retry-After": str(_AGAIN_SECONDS)},
            )
        self._joining.add(upload_id)
        try:
            return model_record(await self._join(caller, session))
        finally:
            self._joining.discard(upload_id)

    async def _join(self, caller: Principal, session: ModelUploadRow) -> ModelRow:
        """Make one object of the chunks, and the model of it."""
        storage, upload_id, size = self._services.storage, session.id, session.size_bytes
        key = whole_key(session.org_id, session.sha256, upload_id)
        try:
            # Storage hashes in threads what passes through it.
            stored = await storage.put(key, whole(storage, upload_id, size), limit=size, size_bytes=size)
        except PartMissing as missing:
            # Here and in `_give_up`: what a refusal leaves behind is no part of the unit that ends with it.
            async with self._services.db.system() as transaction:
                await queries.fall_back(transaction, upload_id, missing.start)
            raise _wrong_offset(missing.start) from missing
        try:
            if stored.sha256 != session.sha256:
                await self._give_up(session)
                raise _wrong_content(session.sha256, str(stored.sha256))
            model, is_ours = await self._insert(caller, session, key)
        except errors.RunflowError:
            await storage.delete([key])
            raise
        # Any other failure, such as of a connection in the commit, does not say whether there is a model now that has
        # the bytes: the sweep of the session asks.
        if not is_ours:
            await storage.delete([key])
        await self._clear(upload_id)
        return model

    async def _insert(self, caller: Principal, session: ModelUploadRow, key: str) -> tuple[ModelRow, bool]:
        async with self._services.db.tenant(caller.org_id) as transaction:
            model = await queries.add_model(
                transaction,
                id=new_id(),
                object_key=key,
                org_id=session.org_id,
                sha256=session.sha256,
                size_bytes=session.size_bytes,
                filename=session.filename,
                created_by=session.created_by,
            )
            await queries.close_upload(transaction, session.id)
            if model is not None:
                details = {"sha256": session.sha256, "filename": session.filename}
                await recorder.record(transaction, caller, "model.created", "model", model.id, details)
                return model, True
            return (await queries.by_hashes(transaction, [session.sha256]))[session.sha256], False

    async def _open_session(self, caller: Principal, upload_id: UUID) -> ModelUploadRow:
        async with self._services.db.tenant(caller.org_id) as transaction:
            session = await queries.get_upload(transaction, upload_id)
        if session is None or session.confirmed_at is not None:
            raise errors.ModelUploadNotFound
        return session

    async def _close(self, session: ModelUploadRow) -> None:
        if session.confirmed_at is None:
            async with self._services.db.tenant(session.org_id) as transaction:
                await queries.close_upload(transaction, session.id)
            await self._clear(session.id)

    async def _give_up(self, session: ModelUploadRow) -> None:
        async with self._services.db.system() as transaction:
            await queries.drop_upload(transaction, session.id)
        storage = self._services.storage
        await storage.delete([key async for key in storage.list(parts_prefix(session.id))])

    async def _clear(self, upload_id: UUID) -> None:
        """Remove the chunks of a confirmed session, unless it is not committed yet: then the sweep does it."""
        if current_unit() is None:
            storage = self._services.storage
            await storage.delete([key async for key in storage.list(parts_prefix(upload_id))])

    def _require_enabled(self) -> None:
        if not self._services.settings.accept_models:
            raise errors.ModelUploadsDisabled


def _wrong_offset(offset: int) -> errors.Conflict:
    return errors.Conflict(
        f"The server has the first {offset} bytes of this model. Go on with the chunk that begins there.",
        headers={OFFSET_HEADER: str(offset)},
    )


def _wrong_size(message: str) -> errors.ValidationFailed:
    return errors.ValidationFailed(message, errors=[{"loc": ["body", "size_bytes"], "msg": message, "type": "size"}])


def _wrong_content(declared: str, found: str) -> errors.ValidationFailed:
    message = (
        f"The SHA-256 of what was sent is {found}, not {declared}. It was removed. Did the file change meanwhile? Hash "
        "it again and upload it anew."
    )
    return errors.ValidationFailed(message, errors=[{"loc": ["body", "sha256"], "msg": message, "type": "sha256"}])


CONFIRMED_SECONDS = 3600
"""For so long a confirmation whose answer was lost can be repeated."""
BATCH = 20


async def sweep_model_uploads(services: Services) -> int:
    """Forget up to `BATCH` stale sessions with their bytes, and return how many there were.

    Objects go before the commit that says so: a process that dies in between leaves sessions that are found again.
    """
    aside = services.part(_uploads_aside)
    async with services.db.system() as transaction:
        stale = await queries.stale_uploads(
            transaction,
            open_seconds=STALE_SECONDS,
            confirmed_seconds=CONFIRMED_SECONDS,
            limit=BATCH,
            aside=aside.ids,
        )
        gone = [one.id for one in stale if await aside.attempt(one.id, _remove_upload(services, transaction, one))]
        await queries.forget_uploads(transaction, gone)
    return len(gone)


async def _remove_upload(services: Services, transaction: Transaction, session: StaleUpload) -> None:
    storage = services.storage
    await storage.delete([key async for key in storage.list(parts_prefix(session.id))])
    # A process that died while it put a model together left a file that no model names.
    wholes = [key async for key in storage.list(whole_prefix(session.org_id, session.sha256, session.id))]
    used = await queries.named(transaction, wholes) if wholes else set()
    await storage.delete([key for key in wholes if key not in used])


def _uploads_aside(_services: Services) -> SetAside:
    return SetAside("upload of a model", first_seconds=RETENTION_SECONDS)
