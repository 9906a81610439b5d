"""SQL of callback secrets, for their organization, and what their list can be filtered and sorted by."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, insert, select, text, update

from runflow.db.transaction import Transaction
from runflow.deliveries.callbacks.schemas import CallbackSecret
from runflow.deliveries.callbacks.tables import callback_secrets as secrets
from runflow.web.lists import FieldKind, ListField, ListSpec


async def lock(connection: Transaction, org_id: UUID) -> None:
    """Let no other request change the secrets of this organization until this transaction ends."""
    statement = text("SELECT pg_advisory_xact_lock(hashtextextended('callback secrets ' || CAST(:org AS text), 0))")
    await connection.execute(statement, {"org": str(org_id)})


async def count(connection: Transaction) -> int:
    """Return how many secrets the organization has."""
    return int((await connection.execute(select(func.count()).select_from(secrets))).scalar_one())


async def by_id(connection: Transaction, secret_id: UUID) -> Row[Any] | None:
    """Return a secret of the organization."""
    found: Row[Any] | None = (
        await connection.execute(select(secrets).where(secrets.c.id == secret_id))
    ).one_or_none()  # fmt: skip
    return found


async def add(connection: Transaction, values: Mapping[str, Any]) -> Row[Any]:
    """Insert a secret and return its row."""
    return (await connection.execute(insert(secrets).values(**values).returning(*secrets.c))).one()


async def demote_current(connection: Transaction) -> None:
    """Make no secret of the organization the current one."""
    await connection.execute(
        update(secrets).where(secrets.c.is_current).values(is_current=False, updated_at=text("now()"))
    )


async def change(connection: Transaction, secret_id: UUID, values: Mapping[str, Any]) -> Row[Any]:
    """Change a secret that is there; return its row."""
    statement = update(secrets).where(secrets.c.id == secret_id).values(**values, updated_at=text("now()"))
    return (await connection.execute(statement.returning(*secrets.c))).one()


async def set_disabled(connection: Transaction, secret_id: UUID, disabled: bool) -> None:
    """Disable a secret from now on (again changes nothing), or enable it."""
    since = text("coalesce(disabled_at, now())") if disabled else None
    await connection.execute(update(secrets).where(secrets.c.id == secret_id).values(disabled_at=since))


async def remove(connection: Transaction, secret_id: UUID) -> None:
    """Delete a secret."""
    await connection.execute(delete(secrets).where(secrets.c.id == secret_id))


SECRET_LIST = ListSpec(
    from_=secrets,
    fields=(
        ListField("id", secrets.c.id, FieldKind.UUID),
        ListField("key_prefix", secrets.c.key_prefix, FieldKind.STRING),
        ListField("label", secrets.c.label, FieldKind.STRING, nullable=True),
        ListField("is_current", secrets.c.is_current, FieldKind.BOOL),
        ListField("disabled_at", secrets.c.disabled_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("last_used_at", secrets.c.last_used_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("created_by", secrets.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", secrets.c.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", secrets.c.updated_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(CallbackSecret.model_fields),
)
