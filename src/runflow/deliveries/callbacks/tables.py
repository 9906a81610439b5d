"""Table of callback secrets, and what its rows hold."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Boolean, Column, LargeBinary, Table, Text

from runflow.db.tables import metadata, time_column, uuid_column

callback_secrets = Table(
    "callback_secrets",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    Column("label", Text),
    Column("secret", LargeBinary, nullable=False),
    Column("key_prefix", Text, nullable=False),
    Column("is_current", Boolean, nullable=False),
    time_column("disabled_at"),
    time_column("last_used_at"),
    uuid_column("created_by"),
    time_column("created_at", nullable=False),
    time_column("updated_at", nullable=False),
)


@dataclass(frozen=True, slots=True)
class CallbackSecretRow:
    """A row of `callback_secrets`."""

    id: UUID
    org_id: UUID
    label: str | None
    secret: bytes
    key_prefix: str
    is_current: bool
    disabled_at: datetime | None
    last_used_at: datetime | None
    created_by: UUID | None
    created_at: datetime
    updated_at: datetime
