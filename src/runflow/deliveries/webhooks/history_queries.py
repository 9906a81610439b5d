"""SQL of webhook deliveries and attempts, for their organization."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Select, select

from runflow.db.transaction import Transaction
from runflow.deliveries.tables import DeliveryAttemptRow, DeliveryRow, deliveries, delivery_attempts
from runflow.deliveries.webhooks.tables import WebhookRow, webhooks

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


async def one(transaction: Transaction, webhook_id: UUID | AnyOne, delivery_id: UUID) -> DeliveryRow | None:
    """Return a delivery with what it says."""
    statement = select(deliveries).where(deliveries.c.id == delivery_id, deliveries.c.webhook_id.is_not(None))
    if webhook_id != "any":
        statement = statement.where(deliveries.c.webhook_id == webhook_id)
    return await transaction.first(statement, row=DeliveryRow)


async def attempts(transaction: Transaction, delivery_ids: Collection[UUID]) -> list[DeliveryAttemptRow]:
    """Return the attempts at these deliveries, in order."""
    statement = select(delivery_attempts).where(delivery_attempts.c.delivery_id.in_(delivery_ids))
    return await transaction.rows(statement.order_by(delivery_attempts.c.attempt_number), row=DeliveryAttemptRow)


async def attempt(
    transaction: Transaction, webhook_id: UUID | AnyOne, delivery_id: UUID | AnyOne, attempt_id: UUID
) -> DeliveryAttemptRow | None:
    """Return an attempt."""
    statement = attempts_of(webhook_id, delivery_id).where(delivery_attempts.c.id == attempt_id)
    return await transaction.first(statement, row=DeliveryAttemptRow)


async def of_ids(transaction: Transaction, webhook_ids: Collection[UUID]) -> list[WebhookRow]:
    """Return those of these webhooks that are there."""
    return await transaction.rows(select(webhooks).where(webhooks.c.id.in_(webhook_ids)), row=WebhookRow)


_ORIGINAL = """
    SELECT d.*, w.url, w.disabled_at FROM deliveries d LEFT JOIN webhooks w ON w.id = d.webhook_id
    WHERE d.id = %(id)s AND d.webhook_id IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class OriginalRow(DeliveryRow):
    """A delivery with what its webhook is now; without a `url` it was deleted."""

    url: str | None
    disabled_at: datetime | None


async def original(transaction: Transaction, delivery_id: UUID) -> OriginalRow | None:
    """Return a delivery with the state of its webhook."""
    return await transaction.first(_ORIGINAL, {"id": delivery_id}, row=OriginalRow)
