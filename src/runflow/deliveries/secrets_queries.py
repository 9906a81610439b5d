"""SQL of stored signing secrets, across organizations: for the delivery engine and for a new master key."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from runflow.db.transaction import Transaction

Sealed = tuple[UUID, bytes]
"""The id of the row, and the secret as it is stored there."""

_OF_ORGANIZATIONS = text("""
SELECT org_id, id, secret FROM callback_secrets WHERE org_id = ANY (CAST(:ids AS uuid[])) AND disabled_at IS NULL
ORDER BY is_current DESC, created_at DESC, id DESC
""")

_OF_WEBHOOKS = text("""
SELECT id, secret, CASE WHEN previous_secret_until > now() THEN previous_secret END AS previous FROM webhooks
WHERE id = ANY (CAST(:ids AS uuid[])) AND disabled_at IS NULL
""")


async def of_organizations(connection: Transaction, org_ids: Collection[UUID]) -> dict[UUID, list[Sealed]]:
    """Return the enabled callback secrets of organizations, the current one first."""
    found: dict[UUID, list[Sealed]] = {}
    for org_id, secret_id, sealed in await connection.execute(_OF_ORGANIZATIONS, {"ids": list(org_ids)}):
        found.setdefault(org_id, []).append((secret_id, sealed))
    return found


async def of_webhooks(connection: Transaction, webhook_ids: Collection[UUID]) -> dict[UUID, list[Sealed]]:
    """Return the secrets of enabled webhooks, after a change for a while also the one before."""
    rows = await connection.execute(_OF_WEBHOOKS, {"ids": list(webhook_ids)})
    return {row.id: [(row.id, sealed) for sealed in (row.secret, row.previous) if sealed] for row in rows}


_EVERY = text("""
SELECT 'callback_secrets.secret' AS place, id, secret AS sealed FROM callback_secrets
UNION ALL SELECT 'webhooks.secret', id, secret FROM webhooks
UNION ALL SELECT 'webhooks.previous_secret', id, previous_secret FROM webhooks WHERE previous_secret IS NOT NULL
""")

_REPLACE = {
    "callback_secrets.secret": text("UPDATE callback_secrets SET secret = :sealed WHERE id = :id"),
    "webhooks.secret": text("UPDATE webhooks SET secret = :sealed WHERE id = :id"),
    "webhooks.previous_secret": text("UPDATE webhooks SET previous_secret = :sealed WHERE id = :id"),
}


async def every_secret(connection: Transaction) -> Sequence[Row[Any]]:
    """Return every stored signing secret: `place` (table and column), `id` of its row, `sealed`."""
    return (await connection.execute(_EVERY)).all()


async def replace(connection: Transaction, place: str, row_id: UUID, sealed: bytes) -> None:
    """Store a secret anew where `every_secret` found it."""
    await connection.execute(_REPLACE[place], {"id": row_id, "sealed": sealed})
