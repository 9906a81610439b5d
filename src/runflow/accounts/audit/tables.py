"""Table of audit events."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Table, Text

from runflow.db.tables import json_column, metadata, time_column, uuid_column

audit_events = Table(
    "audit_events",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    Column("action_code", Text, nullable=False),
    Column("actor_type", Text, nullable=False),
    uuid_column("actor_id"),
    Column("target_type", Text, nullable=False),
    Column("target_id", Text),
    json_column("details"),
    Column("address", Text),
    Column("user_agent", Text),
    Column("request_id", Text),
    time_column("created_at", nullable=False),
)


@dataclass(frozen=True, slots=True)
class AuditEventRow:
    """A row of `audit_events`."""

    id: UUID
    org_id: UUID
    action_code: str
    actor_type: str
    actor_id: UUID | None
    target_type: str
    target_id: str | None
    details: dict[str, Any] | None
    address: str | None
    user_agent: str | None
    request_id: str | None
    created_at: datetime
