"""Table of idempotency keys."""

from sqlalchemy import Column, Integer, LargeBinary, Table, Text

from runflow.db.tables import metadata, time_column, uuid_column

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    uuid_column("org_id", primary_key=True),
    Column("route", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("status_code", Integer, nullable=False),
    Column("content_type", Text),
    Column("body", LargeBinary),
    time_column("created_at", nullable=False),
)
