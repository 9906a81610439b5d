"""SQL of uploaded models. Row-level security limits each statement to the transaction's tenant.

What the sweep does for every tenant stands in `sweep_queries.py`.
"""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select, and_, case, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.models.tables import model_uploads, models

_OPEN = model_uploads.c.confirmed_at.is_(None)


def owned(org_id: UUID) -> Select[Any]:
    """Select an organization's models, for a list."""
    # The tenant's policy says the same; said here too, an index on org_id serves the order of a page.
    return select(models).where(models.c.org_id == org_id)


async def rows(connection: AsyncConnection, statement: Select[Any]) -> Sequence[RowMapping]:
    """Run a list's statement."""
    found: Sequence[RowMapping] = (await connection.execute(statement)).mappings().all()
    return found


async def get_model(connection: AsyncConnection, model_id: UUID) -> RowMapping | None:
    """Return a model."""
    return (await connection.execute(select(models).where(models.c.id == model_id))).mappings().one_or_none()


async def by_hashes(connection: AsyncConnection, hashes: Collection[str]) -> dict[str, RowMapping]:
    """Return those models that exist, by their hash."""
    statement = select(models).where(models.c.sha256.in_(hashes))
    return {row["sha256"]: row for row in (await connection.execute(statement)).mappings()}


async def add_model(connection: AsyncConnection, **values: Any) -> RowMapping | None:
    """Insert a model; None where the organization has one of this content already."""
    statement = insert(models).values(**values).on_conflict_do_nothing(index_elements=["org_id", "sha256"])
    found: RowMapping | None = (await connection.execute(statement.returning(models))).mappings().one_or_none()
    return found


async def remove_model(connection: AsyncConnection, model_id: UUID) -> RowMapping | None:
    """Delete a model and return what it was."""
    statement = delete(models).where(models.c.id == model_id).returning(models)
    return (await connection.execute(statement)).mappings().one_or_none()


async def open_upload(connection: AsyncConnection, **values: Any) -> RowMapping:
    """Return the session that is open for this content, or a new one with these values."""
    statement = insert(model_uploads).values(**values)
    statement = statement.on_conflict_do_update(
        index_elements=["org_id", "sha256", "size_bytes"],
        index_where=text("confirmed_at IS NULL"),
        set_={"updated_at": func.now()},
    )
    row: RowMapping = (await connection.execute(statement.returning(model_uploads))).mappings().one()
    return row


async def is_open(connection: AsyncConnection, sha256: str, size_bytes: int) -> bool:
    """Tell whether a session is open for this content."""
    is_this = and_(model_uploads.c.sha256 == sha256, model_uploads.c.size_bytes == size_bytes, _OPEN)
    return (await connection.execute(select(model_uploads.c.id).where(is_this))).first() is not None


async def get_upload(connection: AsyncConnection, upload_id: UUID) -> RowMapping | None:
    """Return a session, open or confirmed."""
    statement = select(model_uploads).where(model_uploads.c.id == upload_id)
    return (await connection.execute(statement)).mappings().one_or_none()


async def open_uploads(connection: AsyncConnection, hashes: Collection[str]) -> Sequence[RowMapping]:
    """Return the sessions that are open for these hashes."""
    statement = select(model_uploads).where(model_uploads.c.sha256.in_(hashes), _OPEN)
    return (await connection.execute(statement)).mappings().all()


async def note_received(connection: AsyncConnection, upload_id: UUID, *, start: int, end: int) -> RowMapping | None:
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


async def fall_back(connection: AsyncConnection, upload_id: UUID, received_bytes: int) -> None:
    """Note that what comes after so many bytes is not stored after all."""
    statement = update(model_uploads).where(model_uploads.c.id == upload_id, _OPEN)
    await connection.execute(statement.values(received_bytes=received_bytes, updated_at=func.now()))


async def touch(connection: AsyncConnection, upload_id: UUID) -> None:
    """Keep a session from going stale."""
    await connection.execute(update(model_uploads).where(model_uploads.c.id == upload_id).values(updated_at=func.now()))


async def close_upload(connection: AsyncConnection, upload_id: UUID) -> None:
    """Mark a session as confirmed; the sweep forgets it later."""
    statement = update(model_uploads).where(model_uploads.c.id == upload_id, _OPEN)
    await connection.execute(statement.values(confirmed_at=func.now(), updated_at=func.now()))


async def drop_upload(connection: AsyncConnection, upload_id: UUID) -> None:
    """Forget an open session."""
    await connection.execute(delete(model_uploads).where(model_uploads.c.id == upload_id, _OPEN))
