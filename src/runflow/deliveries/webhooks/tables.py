"""Table of webhooks, and what its rows hold."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

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


@dataclass(frozen=True, slots=True)
class WebhookRow:
    """A row of `webhooks`."""

    id: UUID
    org_id: UUID
    url: str
    label: str | None
    event_type_codes: list[str]
    secret: bytes
    secret_fingerprint: str
    previous_secret: bytes | None
    previous_secret_until: datetime | None
    disabled_at: datetime | None
    disabled_reason_code: str | None
    disabled_reason: str | None
    failing_since: datetime | None
    failed_attempt_count: int
    last_triggered_at: datetime | None
    created_by: UUID | None
    created_at: datetime
    updated_at: datetime
