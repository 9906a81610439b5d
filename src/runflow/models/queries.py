"""SQL of uploaded models, and what their list can be filtered and sorted by.

Row-level security limits each statement to the transaction's tenant; those of the sweep, at the end, serve every
tenant.
"""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, RowMapping, Select, and_, case, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from runflow.db.transaction import Transaction
from runflow.models.schemas import ModelRecord
from runflow.models.tables import model_uploads, models
from runflow.web.lists import FieldKind, ListField, ListSpec

_OPEN = model_uploads.c.confirmed_at.is_(None)


def owned(org_id: UUID) -> Select[Any]:
    """Select an organization's models, for a list."""
    # The tenant's policy says the same; said here too, an index on org_id serves the order of a page.
    return select(models).where(models.c.org_id == org_id)


async def rows(connection: Transaction, statement: Select[Any]) -> Sequence[RowMapping]:
    """Run a list's statement."""
    found: Sequence[RowMapping] = (await connection.execute(statement)).mappings().all()
    return found


async def get_model(connection: Transaction, model_id: UUID) -> RowMapping | None:
    """Return a model."""
    return (await connection.execute(select(models).where(models.c.id == model_id))).mappings().one_or_none()


async def by_hashes(connection: Transaction, hashes: Collection[str]) -> dict[str, RowMapping]:
    """Return those models that exist, by their hash."""
    statement = select(models).where(models.c.sha256.in_(hashes))
    return {row["sha256"]: row for row in (await connection.execute(statement)).mappings()}


async def add_model(connection: Transaction, **values: Any) -> RowMapping | None:
    """Insert a model; None where the organization has one of this content already."""
    statement = insert(models).values(**values).on_conflict_do_nothing(index_elements=["org_id", "sha256"])
    found: RowMapping | None = (await connection.execute(statement.returning(models))).mappings().one_or_none()
    return found


async def remove_model(connection: Transaction, model_id: UUID) -> RowMapping | None:
    """Delete a model and return what it was."""
    statement = delete(models).where(models.c.id == model_id).returning(models)
    return (await connection.execute(statement)).mappings().one_or_none()


async def open_upload(connection: Transaction, **values: Any) -> RowMapping:
    """Return the session that is open for this content, or a new one with these values."""
    statement = insert(model_uploads).values(**values)
    statement = statement.on_conflict_do_update(
        index_elements=["org_id", "sha256", "size_bytes"],
        index_where=text("confirmed_at IS NULL"),
        set_={"updated_at": func.now()},
    )
    row: RowMapping = (await connection.execute(statement.returning(model_uploads))).mappings().one()
    return row


async def is_open(connection: Transaction, sha256: str, size_bytes: int) -> bool:
    """Tell whether a session is open for this content."""
    is_this = and_(model_uploads.c.sha256 == sha256, model_uploads.c.size_bytes == size_bytes, _OPEN)
    return (await connection.execute(select(model_uploads.c.id).where(is_this))).first() is not None


async def get_upload(connection: Transaction, upload_id: UUID) -> RowMapping | None:
    """Return a session, open or confirmed."""
    statement = select(model_uploads).where(model_uploads.c.id == upload_id)
    return (await connection.execute(statement)).mappings().one_or_none()


async def open_uploads(connection: Transaction, hashes: Collection[str]) -> Sequence[RowMapping]:
    """Return the sessions that are open for these hashes."""
    statement = select(model_uploads).where(model_uploads.c.sha256.in_(hashes), _OPEN)
    return (await connection.execute(statement)).mappings().all()


async def note_received(connection: Transaction, upload_id: UUID, *, start: int, end: int) -> RowMapping | None:
    """Note that the bytes from `start` to `end` are stored; None when the session is not open any more.

    A chunk that came again, or behind a gap that opened meanwhile, leaves the count as it is.
    """
    received = model_uploads.c.received_bytes
    statement = update(model_uploads).where(model_uploads.c.id == upload_id, _OPEN)
    statement = statement.values(
        received_bytes=case((received >= start, func.greatest(received, end)), else_=received), updated_at=func.now()
    )
    noted: RowMapping | None = (await connection.execute(statement.returning(model_uploads))).mappings().one_or_none()
    return noted


async def fall_back(connection: Transaction, upload_id: UUID, received_bytes: int) -> None:
    """Note that what comes after so many bytes is not stored after all."""
    statement = update(model_uploads).where(model_uploads.c.id == upload_id, _OPEN)
    await connection.execute(statement.values(received_bytes=received_bytes, updated_at=func.now()))


async def touch(connection: Transaction, upload_id: UUID) -> None:
    """Keep a session from going stale."""
    await connection.execute(update(model_uploads).where(model_uploads.c.id == upload_id).values(updated_at=func.now()))


async def close_upload(connection: Transaction, upload_id: UUID) -> None:
    """Mark a session as confirmed; the sweep forgets it later."""
    statement = update(model_uploads).where(model_uploads.c.id == upload_id, _OPEN)
    await connection.execute(statement.values(confirmed_at=func.now(), updated_at=func.now()))


async def drop_upload(connection: Transaction, upload_id: UUID) -> None:
    """Forget an open session."""
    await connection.execute(delete(model_uploads).where(model_uploads.c.id == upload_id, _OPEN))


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
    embeds=frozenset(),
)


_TAKE_STALE = text("""
    DELETE FROM model_uploads WHERE id IN (
        SELECT id FROM model_uploads
        WHERE updated_at < now() - make_interval(secs => :open_seconds)
           OR (confirmed_at IS NOT NULL AND updated_at < now() - make_interval(secs => :confirmed_seconds))
        ORDER BY updated_at LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING id, org_id, sha256
""")


async def take_stale(
    connection: Transaction, *, open_seconds: int, confirmed_seconds: int, limit: int
) -> Sequence[Row[Any]]:
    """Delete sessions that nobody went on with for so long, and confirmed ones sooner; return what they were."""
    values = {"open_seconds": open_seconds, "confirmed_seconds": confirmed_seconds, "limit": limit}
    return (await connection.execute(_TAKE_STALE, values)).all()


async def named(connection: Transaction, keys: Collection[str]) -> set[str]:
    """Return those of these object keys that a model has."""
    return set((await connection.execute(select(models.c.object_key).where(models.c.object_key.in_(keys)))).scalars())
