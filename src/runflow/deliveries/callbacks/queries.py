"""SQL of callback secrets, for their organization, and what their list can be filtered and sorted by."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, insert, select, text, update

from runflow.db.transaction import Transaction
from runflow.deliveries.callbacks.schemas import CallbackSecret
from runflow.deliveries.callbacks.tables import CallbackSecretRow
from runflow.deliveries.callbacks.tables import callback_secrets as secrets
from runflow.web.lists import FieldKind, ListField, ListSpec


async def lock(transaction: Transaction, org_id: UUID) -> None:
    """Let no other request change the secrets of this organization until this transaction ends."""
    statement = "SELECT pg_advisory_xact_lock(hashtextextended('callback secrets ' || CAST(%(org)s AS text), 0))"
    await transaction.run(statement, {"org": str(org_id)})


async def count(transaction: Transaction) -> int:
    """Return how many secrets the organization has."""
    return await transaction.one_value(select(func.count()).select_from(secrets), of=int)


async def by_id(transaction: Transaction, secret_id: UUID) -> CallbackSecretRow | None:
    """Return a secret of the organization."""
    return await transaction.first(select(secrets).where(secrets.c.id == secret_id), row=CallbackSecretRow)


async def add(transaction: Transaction, values: Mapping[str, Any]) -> CallbackSecretRow:
    """Insert a secret and return its row."""
    return await transaction.one(insert(secrets).values(**values).returning(*secrets.c), row=CallbackSecretRow)


async def demote_current(transaction: Transaction) -> None:
    """Make no secret of the organization the current one."""
    await transaction.run(
        update(secrets).where(secrets.c.is_current).values(is_current=False, updated_at=text("now()"))
    )


async def change(transaction: Transaction, secret_id: UUID, values: Mapping[str, Any]) -> CallbackSecretRow:
    """Change a secret that is there; return its row."""
    statement = update(secrets).where(secrets.c.id == secret_id).values(**values, updated_at=text("now()"))
    return await transaction.one(statement.returning(*secrets.c), row=CallbackSecretRow)


async def set_disabled(transaction: Transaction, secret_id: UUID, disabled: bool) -> None:
    """Disable a secret from now on (again changes nothing), or enable it."""
    since = text("coalesce(disabled_at, now())") if disabled else None
    await transaction.run(update(secrets).where(secrets.c.id == secret_id).values(disabled_at=since))


async def remove(transaction: Transaction, secret_id: UUID) -> None:
    """Delete a secret."""
    await transaction.run(delete(secrets).where(secrets.c.id == secret_id))


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
