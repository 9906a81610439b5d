"""Tables of deliveries (one message to one target) and their attempts."""

from sqlalchemy import Boolean, Column, Integer, LargeBinary, Table, Text

from runflow.db.tables import metadata, time_column, uuid_column

deliveries = Table(
    "deliveries",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    Column("kind_code", Text, nullable=False),
    uuid_column("run_id"),
    uuid_column("batch_id"),
    uuid_column("evaluation_id"),
    uuid_column("webhook_id"),
    Column("event_type_code", Text, nullable=False),
    Column("target_url", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    uuid_column("signing_secret_id"),
    Column("is_automatic", Boolean, nullable=False),
    Column("status_code", Text, nullable=False),
    Column("failure_reason_code", Text),
    Column("failure_detail", Text),
    Column("attempt_count", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    time_column("next_attempt_at"),
    time_column("claimed_until"),
    Column("request_id", Text),
    time_column("created_at", nullable=False),
    time_column("updated_at", nullable=False),
    time_column("completed_at"),
)

delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    uuid_column("delivery_id", nullable=False),
    uuid_column("webhook_id"),
    Column("attempt_number", Integer, nullable=False),
    Column("status_code", Integer),
    Column("response_body", Text),
    Column("response_time_ms", Integer),
    Column("error_message", Text),
    time_column("next_retry_at"),
    time_column("created_at", nullable=False),
)
