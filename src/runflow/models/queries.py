"""SQL of uploaded models, and what their list can be filtered and sorted by.

Row-level security limits each statement to the transaction's tenant; those of the sweep, at the end, serve every
tenant.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Select, case, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from runflow.db.transaction import Transaction
from runflow.models.schemas import EMBEDS, ModelRecord
from runflow.models.tables import ModelRow, ModelUploadRow, model_uploads, models
from runflow.web.lists import FieldKind, ListField, ListSpec

_OPEN = model_uploads.c.confirmed_at.is_(None)

_IS_OPEN = """
    SELECT id FROM model_uploads WHERE sha256 = %(sha256)s AND size_bytes = %(size_bytes)s AND confirmed_at IS NULL
"""

_FALL_BACK = """
    UPDATE model_uploads SET received_bytes = %(received_bytes)s, updated_at = now()
    WHERE id = %(id)s AND confirmed_at IS NULL
"""

_TOUCH = "UPDATE model_uploads SET updated_at = now() WHERE id = %(id)s"

_CLOSE_UPLOAD = """
    UPDATE model_uploads SET confirmed_at = now(), updated_at = now() WHERE id = %(id)s AND confirmed_at IS NULL
"""

_DROP_UPLOAD = "DELETE FROM model_uploads WHERE id = %(id)s AND confirmed_at IS NULL"


def owned(org_id: UUID) -> Select[Any]:
    """Select an organization's models, for a list."""
    # The tenant's policy says the same; said here too, an index on org_id serves the order of a page.
    return select(models).where(models.c.org_id == org_id)


async def get_model(transaction: Transaction, model_id: UUID) -> ModelRow | None:
    """Return a model."""
    return await transaction.first(select(models).where(models.c.id == model_id), row=ModelRow)


async def by_hashes(transaction: Transaction, hashes: Collection[str]) -> dict[str, ModelRow]:
    """Return those models that exist, by their hash."""
    statement = select(models).where(models.c.sha256.in_(hashes))
    return {model.sha256: model for model in await transaction.rows(statement, row=ModelRow)}


async def add_model(transaction: Transaction, **values: Any) -> ModelRow | None:
    """Insert a model; None where the organization has one of this content already."""
    statement = insert(models).values(**values).on_conflict_do_nothing(index_elements=["org_id", "sha256"])
    return await transaction.first(statement.returning(models), row=ModelRow)


async def remove_model(transaction: Transaction, model_id: UUID) -> ModelRow | None:
    """Delete a model and return what it was."""
    return await transaction.first(delete(models).where(models.c.id == model_id).returning(models), row=ModelRow)


async def open_upload(transaction: Transaction, **values: Any) -> ModelUploadRow:
    """Return the session that is open for this content, or a new one with these values."""
    statement = insert(model_uploads).values(**values)
    statement = statement.on_conflict_do_update(
        index_elements=["org_id", "sha256", "size_bytes"],
        index_where=text("confirmed_at IS NULL"),
        set_={"updated_at": func.now()},
    )
    return await transaction.one(statement.returning(model_uploads), row=ModelUploadRow)


async def is_open(transaction: Transaction, sha256: str, size_bytes: int) -> bool:
    """Tell whether a session is open for this content."""
    return await transaction.value(_IS_OPEN, {"sha256": sha256, "size_bytes": size_bytes}, of=UUID) is not None


async def get_upload(transaction: Transaction, upload_id: UUID) -> ModelUploadRow | None:
    """Return a session, open or confirmed."""
    return await transaction.first(select(model_uploads).where(model_uploads.c.id == upload_id), row=ModelUploadRow)


async def open_uploads(transaction: Transaction, hashes: Collection[str]) -> list[ModelUploadRow]:
    """Return the sessions that are open for these hashes."""
    statement = select(model_uploads).where(model_uploads.c.sha256.in_(hashes), _OPEN)
    return await transaction.rows(statement, row=ModelUploadRow)


async def note_received(transaction: Transaction, upload_id: UUID, *, start: int, end: int) -> ModelUploadRow | None:
    """Note that the bytes from `start` to `end` are stored; None when the session is not open any more.

    A chunk that came again, or behind a gap that opened meanwhile, leaves the count as it is.
    """
    received = model_uploads.c.received_bytes
    statement = update(model_uploads).where(model_uploads.c.id == upload_id, _OPEN)
    statement = statement.values(
        received_bytes=case((received >= start, func.greatest(received, end)), else_=received), updated_at=func.now()
    )
    return await transaction.first(statement.returning(model_uploads), row=ModelUploadRow)


async def fall_back(transaction: Transaction, upload_id: UUID, received_bytes: int) -> None:
    """Note that what comes after so many bytes is not stored after all."""
    await transaction.run(_FALL_BACK, {"id": upload_id, "received_bytes": received_bytes})


async def touch(transaction: Transaction, upload_id: UUID) -> None:
    """Keep a session from going stale."""
    await transaction.run(_TOUCH, {"id": upload_id})


async def close_upload(transaction: Transaction, upload_id: UUID) -> None:
    """Mark a session as confirmed; the sweep forgets it later."""
    await transaction.run(_CLOSE_UPLOAD, {"id": upload_id})


async def drop_upload(transaction: Transaction, upload_id: UUID) -> None:
    """Forget an open session."""
    await transaction.run(_DROP_UPLOAD, {"id": upload_id})


MODEL_LIST = ListSpec(
    from_=models,
    fields=(
        ListField("id", models.c.id, FieldKind.UUID),
        ListField("sha256", models.c.sha256, FieldKind.STRING),
        ListField("size_bytes", models.c.size_bytes, FieldKind.INT),
        ListField("filename", models.c.filename, FieldKind.STRING),
        ListField("created_by", models.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", models.c.created_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(ModelRecord.model_fields),
    embeds=EMBEDS,
)


# By the manifest's text, which is compact JSON of ours: PostgreSQL fails at looking into a document that holds a NUL.
# Cutting it up is many times as fast as a regular expression.
_USES = """
    WITH named AS (
        SELECT DISTINCT lower(left(cut.piece, 64)) AS sha256, w.id, o.slug || '/' || w.slug AS path
        FROM workflows w JOIN workflow_versions v ON v.id = w.version_id JOIN organizations o ON o.id = w.org_id,
            unnest(string_to_array(concat(v.models, v.environment), '"sha256":"')) AS cut (piece)
        WHERE w.org_id = %(org)s AND w.deleted_at IS NULL AND lower(left(cut.piece, 64)) = ANY(%(hashes)s)),
    placed AS (
        SELECT sha256, id, path, row_number() OVER (PARTITION BY sha256 ORDER BY path) AS place,
               count(*) OVER (PARTITION BY sha256) AS total
        FROM named)
    SELECT sha256, id, path, total FROM placed WHERE place <= %(most)s ORDER BY sha256, place
"""


@dataclass(frozen=True, slots=True)
class ModelUse:
    """A live workflow whose current version names a model's content; `total`: how many do."""

    sha256: str
    id: UUID
    path: str
    total: int


async def uses(transaction: Transaction, org_id: UUID, hashes: Collection[str], most: int) -> dict[str, list[ModelUse]]:
    """Return an organization's workflows that use models of these contents: of each the first `most` by path."""
    found: dict[str, list[ModelUse]] = defaultdict(list)
    values = {"org": org_id, "hashes": list(hashes), "most": most}
    for use in await transaction.rows(_USES, values, row=ModelUse):
        found[use.sha256].append(use)
    return found


_STALE = """
    SELECT id, org_id, sha256 FROM model_uploads
    WHERE id <> ALL(CAST(%(aside)s AS uuid[]))
      AND (updated_at < now() - make_interval(secs => %(open_seconds)s)
           OR (confirmed_at IS NOT NULL AND updated_at < now() - make_interval(secs => %(confirmed_seconds)s)))
    ORDER BY updated_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""

_FORGET_UPLOADS = "DELETE FROM model_uploads WHERE id = ANY(%(ids)s)"

_NAMED = "SELECT object_key FROM models WHERE object_key = ANY(%(keys)s)"


@dataclass(frozen=True, slots=True)
class StaleUpload:
    """A session that is to be forgotten, and the content that it was for."""

    id: UUID
    org_id: UUID
    sha256: str


async def stale_uploads(
    transaction: Transaction, *, open_seconds: int, confirmed_seconds: int, limit: int, aside: list[UUID]
) -> list[StaleUpload]:
    """Lock and return sessions that nobody went on with for so long, and confirmed ones sooner."""
    values = {"open_seconds": open_seconds, "confirmed_seconds": confirmed_seconds, "limit": limit, "aside": aside}
    return await transaction.rows(_STALE, values, row=StaleUpload)


async def forget_uploads(transaction: Transaction, uploads: list[UUID]) -> None:
    """Delete sessions."""
    await transaction.run(_FORGET_UPLOADS, {"ids": uploads})


async def named(transaction: Transaction, keys: Collection[str]) -> set[str]:
    """Return those of these object keys that a model has."""
    return set(await transaction.values(_NAMED, {"keys": list(keys)}, of=str))
