"""SQL of audit events."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.audit.tables import audit_events


async def add(connection: AsyncConnection, values: Mapping[str, Any]) -> UUID:
    """Insert an event and return its id."""
    await connection.execute(insert(audit_events).values(**values))
    found: UUID = values["id"]
    return found
