"""SQL of webhooks, for their organization. Locks are taken in one order everywhere: webhook, then deliveries."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.webhooks.tables import webhooks


async def by_id(connection: AsyncConnection, webhook_id: UUID) -> Row[Any] | None:
    """Return a webhook of the organization."""
    found: Row[Any] | None = (
        await connection.execute(select(webhooks).where(webhooks.c.id == webhook_id))
    ).one_or_none()  # fmt: skip
    return found


async def locked(connection: AsyncConnection, webhook_id: UUID) -> Row[Any] | None:
    """Return a webhook of the organization and lock it."""
    statement = select(webhooks).where(webhooks.c.id == webhook_id).with_for_update()
    found: Row[Any] | None = (await connection.execute(statement)).one_or_none()
    return found


async def add(connection: AsyncConnection, values: Mapping[str, Any]) -> Row[Any]:
    """Insert a webhook and return its row."""
    return (await connection.execute(insert(webhooks).values(**values).returning(*webhooks.c))).one()


async def change(
    connection: AsyncConnection, webhook_id: UUID, values: Mapping[str, Any], *, keep_previous_seconds: int | None
) -> Row[Any]:
    """Change a webhook that is there; return its row.

    With `keep_previous_seconds` its secret of now stays valid for that long beside the new one.
    """
    more: dict[str, Any] = {"updated_at": text("now()")}
    if keep_previous_seconds is not None:
        more["previous_secret"] = webhooks.c.secret
        more["previous_secret_until"] = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, keep_previous_seconds)
    statement = update(webhooks).where(webhooks.c.id == webhook_id).values(**values, **more)
    return (await connection.execute(statement.returning(*webhooks.c))).one()


async def disable(connection: AsyncConnection, webhook_id: UUID, code: str, reason: str) -> None:
    """Disable a webhook that is enabled."""
    values = {"disabled_at": text("now()"), "disabled_reason_code": code, "disabled_reason": reason}
    await connection.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(**values))


async def enable(connection: AsyncConnection, webhook_id: UUID) -> None:
    """Enable a webhook, and forget what was wrong with it."""
    nothing = dict.fromkeys(("disabled_at", "disabled_reason_code", "disabled_reason", "failing_since"))
    await connection.execute(
        update(webhooks).where(webhooks.c.id == webhook_id).values(**nothing, failed_attempt_count=0)
    )


async def remove(connection: AsyncConnection, webhook_id: UUID) -> None:
    """Delete a webhook. Its deliveries stay until their retention ends."""
    await connection.execute(delete(webhooks).where(webhooks.c.id == webhook_id))
