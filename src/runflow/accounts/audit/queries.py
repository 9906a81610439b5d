"""SQL of audit events, and what their list can be filtered and sorted by."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert

from runflow.accounts.audit.schemas import ActorType, AuditEvent
from runflow.accounts.audit.tables import audit_events
from runflow.db.transaction import Transaction
from runflow.web.lists import FieldKind, ListField, ListSpec


async def add(transaction: Transaction, values: Mapping[str, Any]) -> None:
    """Insert an event."""
    await transaction.run(insert(audit_events).values(**values))


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
