"""SQL of audit events."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import JSON, Text, cast, insert, literal
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.audit.tables import audit_events
from runflow.db.transaction import Transaction


async def add(connection: AsyncConnection, values: Mapping[str, Any]) -> UUID:
    """Insert an event and return its id."""
    await connection.execute(insert(audit_events).values(**values))
    found: UUID = values["id"]
    return found


async def add_pipelined(connection: Transaction, values: Mapping[str, Any]) -> None:
    """Insert an event in a transaction of the hot path."""
    details = values["details"]
    text = None if details is None else orjson.dumps(details).decode()
    plain = {**values, "details": cast(literal(text, Text), JSON)}
    await connection.run_clause(insert(audit_events).values(**plain))
