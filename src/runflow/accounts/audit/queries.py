"""SQL of audit events, and what their list can be filtered and sorted by."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import JSON, Text, cast, insert, literal

from runflow.accounts.audit.schemas import ActorType, AuditEvent
from runflow.accounts.audit.tables import audit_events
from runflow.db.transaction import Transaction
from runflow.web.lists import FieldKind, ListField, ListSpec


async def add(connection: Transaction, values: Mapping[str, Any]) -> UUID:
    """Insert an event and return its id."""
    await connection.execute(insert(audit_events).values(**values))
    found: UUID = values["id"]
    return found


async def add_pipelined(connection: Transaction, values: Mapping[str, Any]) -> None:
    """Insert an event in a transaction of the hot path."""
    details = values["details"]
    text = None if details is None else orjson.dumps(details).decode()
    plain = {**values, "details": cast(literal(text, Text), JSON)}
    await connection.run(insert(audit_events).values(**plain))


AUDIT_LIST = ListSpec(
    from_=audit_events,
    fields=(
        ListField("id", audit_events.c.id, FieldKind.UUID),
        ListField("action_code", audit_events.c.action_code, FieldKind.STRING),
        ListField("actor_type", audit_events.c.actor_type, FieldKind.ENUM, choices=tuple(ActorType)),
        ListField("actor_id", audit_events.c.actor_id, FieldKind.UUID, nullable=True),
        ListField("target_type", audit_events.c.target_type, FieldKind.STRING),
        ListField("target_id", audit_events.c.target_id, FieldKind.STRING, nullable=True),
        ListField("address", audit_events.c.address, FieldKind.STRING, nullable=True),
        ListField("user_agent", audit_events.c.user_agent, FieldKind.STRING, nullable=True, sortable=False),
        ListField("request_id", audit_events.c.request_id, FieldKind.STRING, nullable=True),
        ListField("created_at", audit_events.c.created_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(AuditEvent.model_fields),
)
