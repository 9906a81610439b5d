"""SQL of redeliveries to webhooks, for their organization; pipelined, because what they say is composed there."""

from typing import Any
from uuid import UUID

from runflow.db.transaction import Transaction

_ORIGINAL = """
    SELECT d.*, w.url, w.disabled_at FROM deliveries d LEFT JOIN webhooks w ON w.id = d.webhook_id
    WHERE d.id = %(id)s AND d.webhook_id IS NOT NULL
"""


async def original(connection: Transaction, delivery_id: UUID) -> Any | None:
    """Return a delivery with the `url` (null: it was deleted) and `disabled_at` of its webhook."""
    return await connection.first(_ORIGINAL, {"id": delivery_id})
