"""Tables of deliveries (one message to one target) and their attempts, and what their rows hold."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

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
    uuid_column("golden_run_id"),
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


@dataclass(frozen=True, slots=True)
class DeliverySummaryRow:
    """A row of `deliveries` without what the message says."""

    id: UUID
    org_id: UUID
    kind_code: str
    run_id: UUID | None
    batch_id: UUID | None
    evaluation_id: UUID | None
    golden_run_id: UUID | None
    webhook_id: UUID | None
    event_type_code: str
    target_url: str
    signing_secret_id: UUID | None
    is_automatic: bool
    status_code: str
    failure_reason_code: str | None
    failure_detail: str | None
    attempt_count: int
    max_attempts: int
    next_attempt_at: datetime | None
    claimed_until: datetime | None
    request_id: str | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeliveryRow(DeliverySummaryRow):
    """A row of `deliveries`."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class DeliveryAttemptRow:
    """A row of `delivery_attempts`."""

    id: UUID
    org_id: UUID
    delivery_id: UUID
    webhook_id: UUID | None
    attempt_number: int
    status_code: int | None
    response_body: str | None
    response_time_ms: int | None
    error_message: str | None
    next_retry_at: datetime | None
    created_at: datetime
