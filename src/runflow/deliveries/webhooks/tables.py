"""Table of webhooks."""

from sqlalchemy import ARRAY, Column, Integer, LargeBinary, Table, Text

from runflow.db.tables import metadata, time_column, uuid_column

webhooks = Table(
    "webhooks",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    Column("url", Text, nullable=False),
    Column("label", Text),
    Column("event_type_codes", ARRAY(Text), nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("secret_fingerprint", Text, nullable=False),
    Column("previous_secret", LargeBinary),
    time_column("previous_secret_until"),
    time_column("disabled_at"),
    Column("disabled_reason_code", Text),
    Column("disabled_reason", Text),
    time_column("failing_since"),
    Column("failed_attempt_count", Integer, nullable=False),
    time_column("last_triggered_at"),
    uuid_column("created_by"),
    time_column("created_at", nullable=False),
    time_column("updated_at", nullable=False),
)
