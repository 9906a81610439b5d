"""SQL of webhook deliveries and attempts, for their organization."""

from collections.abc import Collection, Sequence
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row, Select, select

from runflow.db.transaction import Transaction
from runflow.deliveries.tables import deliveries, delivery_attempts
from runflow.deliveries.webhooks.tables import webhooks

AnyOne = Literal["any"]
"""In the place of an id: whichever."""


def of_webhook(webhook_id: UUID | AnyOne) -> Select[Any]:
    """Select deliveries without what they say, for a list."""
    columns = [column for column in deliveries.c if column.name != "payload"]
    statement = select(*columns).where(deliveries.c.webhook_id.is_not(None))
    return statement if webhook_id == "any" else statement.where(deliveries.c.webhook_id == webhook_id)


def attempts_of(webhook_id: UUID | AnyOne, delivery_id: UUID | AnyOne) -> Select[Any]:
    """Select attempts, for a list or for one record."""
    statement = select(delivery_attempts).where(delivery_attempts.c.webhook_id.is_not(None))
    if webhook_id != "any":
        statement = statement.where(delivery_attempts.c.webhook_id == webhook_id)
    return statement if delivery_id == "any" else statement.where(delivery_attempts.c.delivery_id == delivery_id)


async def rows(connection: Transaction, statement: Select[Any]) -> list[Row[Any]]:
    """Return the rows of a list's statement."""
    return list(await connection.execute(statement))


async def one(connection: Transaction, webhook_id: UUID | AnyOne, delivery_id: UUID) -> Row[Any] | None:
    """Return a delivery with what it says."""
    statement = select(deliveries).where(deliveries.c.id == delivery_id, deliveries.c.webhook_id.is_not(None))
    if webhook_id != "any":
        statement = statement.where(deliveries.c.webhook_id == webhook_id)
    found: Row[Any] | None = (await connection.execute(statement)).one_or_none()
    return found


async def attempts(connection: Transaction, delivery_ids: Collection[UUID]) -> Sequence[Row[Any]]:
    """Return the attempts at these deliveries, in order."""
    statement = select(delivery_attempts).where(delivery_attempts.c.delivery_id.in_(delivery_ids))
    return (await connection.execute(statement.order_by(delivery_attempts.c.attempt_number))).all()


async def attempt(
    connection: Transaction, webhook_id: UUID | AnyOne, delivery_id: UUID | AnyOne, attempt_id: UUID
) -> Row[Any] | None:
    """Return an attempt."""
    statement = attempts_of(webhook_id, delivery_id).where(delivery_attempts.c.id == attempt_id)
    found: Row[Any] | None = (await connection.execute(statement)).one_or_none()
    return found


async def of_ids(connection: Transaction, webhook_ids: Collection[UUID]) -> Sequence[Row[Any]]:
    """Return those of these webhooks that are there."""
    return (await connection.execute(select(webhooks).where(webhooks.c.id.in_(webhook_ids)))).all()


_ORIGINAL = """
    SELECT d.*, w.url, w.disabled_at FROM deliveries d LEFT JOIN webhooks w ON w.id = d.webhook_id
    WHERE d.id = %(id)s AND d.webhook_id IS NOT NULL
"""


async def original(connection: Transaction, delivery_id: UUID) -> Any | None:
    """Return a delivery with the `url` (null: it was deleted) and `disabled_at` of its webhook."""
    return await connection.first(_ORIGINAL, {"id": delivery_id})
