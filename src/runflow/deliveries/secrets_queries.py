"""SQL of stored signing secrets, across organizations: for the delivery sender and for a new master key."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from runflow.db.transaction import Transaction

Sealed = tuple[UUID, bytes]
"""The id of the row, and the secret as it is stored there."""

_OF_ORGANIZATIONS = """
SELECT org_id, id, secret FROM callback_secrets WHERE org_id = ANY (CAST(%(ids)s AS uuid[])) AND disabled_at IS NULL
ORDER BY is_current DESC, created_at DESC, id DESC
"""

_OF_WEBHOOKS = """
SELECT id, secret, CASE WHEN previous_secret_until > now() THEN previous_secret END AS previous FROM webhooks
WHERE id = ANY (CAST(%(ids)s AS uuid[])) AND disabled_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class OfOrganizationRow:
    """An enabled callback secret of an organization."""

    org_id: UUID
    id: UUID
    secret: bytes


@dataclass(frozen=True, slots=True)
class OfWebhookRow:
    """The secret of an enabled webhook, and the one before while it counts."""

    id: UUID
    secret: bytes
    previous: bytes | None


async def of_organizations(transaction: Transaction, org_ids: Collection[UUID]) -> dict[UUID, list[Sealed]]:
    """Return the enabled callback secrets of organizations, the current one first."""
    found: dict[UUID, list[Sealed]] = {}
    for row in await transaction.rows(_OF_ORGANIZATIONS, {"ids": list(org_ids)}, row=OfOrganizationRow):
        found.setdefault(row.org_id, []).append((row.id, row.secret))
    return found


async def of_webhooks(transaction: Transaction, webhook_ids: Collection[UUID]) -> dict[UUID, list[Sealed]]:
    """Return the secrets of enabled webhooks, after a change for a while also the one before."""
    rows = await transaction.rows(_OF_WEBHOOKS, {"ids": list(webhook_ids)}, row=OfWebhookRow)
    return {row.id: [(row.id, sealed) for sealed in (row.secret, row.previous) if sealed] for row in rows}


_EVERY = """
SELECT 'callback_secrets.secret' AS place, id, secret AS sealed FROM callback_secrets
UNION ALL SELECT 'webhooks.secret', id, secret FROM webhooks
UNION ALL SELECT 'webhooks.previous_secret', id, previous_secret FROM webhooks WHERE previous_secret IS NOT NULL
"""

_REPLACE = {
    "callback_secrets.secret": "UPDATE callback_secrets SET secret = %(sealed)s WHERE id = %(id)s",
    "webhooks.secret": "UPDATE webhooks SET secret = %(sealed)s WHERE id = %(id)s",
    "webhooks.previous_secret": "UPDATE webhooks SET previous_secret = %(sealed)s WHERE id = %(id)s",
}


@dataclass(frozen=True, slots=True)
class SealedRow:
    """A signing secret as it is stored: `place` is its table and column, `id` that of its row."""

    place: str
    id: UUID
    sealed: bytes


async def every_secret(transaction: Transaction) -> list[SealedRow]:
    """Return every stored signing secret."""
    return await transaction.rows(_EVERY, row=SealedRow)


async def replace(transaction: Transaction, place: str, row_id: UUID, sealed: bytes) -> None:
    """Store a secret anew where `every_secret` found it."""
    await transaction.run(_REPLACE[place], {"id": row_id, "sealed": sealed})
