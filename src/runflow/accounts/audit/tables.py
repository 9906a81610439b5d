"""Table of audit events."""

from sqlalchemy import JSON, Column, Table, Text

from runflow.db.tables import metadata, time_column, uuid_column

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
    Column("details", JSON),
    Column("address", Text),
    Column("user_agent", Text),
    Column("request_id", Text),
    time_column("created_at", nullable=False),
)
