"""Tables of API keys and worker tokens."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, Column, Integer, LargeBinary, Table, Text

from runflow.db.tables import metadata, time_column, uuid_column

api_keys = Table(
    "api_keys",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    Column("name", Text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False),
    Column("key_prefix", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    time_column("expires_at"),
    time_column("last_used_at"),
    time_column("revoked_at"),
    uuid_column("created_by"),
    uuid_column("user_id"),
    Column("rate_limit_per_second", Integer),
    time_column("created_at", nullable=False),
    time_column("updated_at", nullable=False),
)


@dataclass(frozen=True, slots=True)
class ApiKeyRow:
    """A row of `api_keys`."""

    id: UUID
    org_id: UUID
    name: str
    key_hash: bytes
    key_prefix: str
    scopes: list[str]
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    created_by: UUID | None
    user_id: UUID | None
    rate_limit_per_second: int | None
    created_at: datetime
    updated_at: datetime


worker_tokens = Table(
    "worker_tokens",
    metadata,
    uuid_column("id", primary_key=True),
    Column("name", Text, nullable=False),
    Column("token_hash", LargeBinary, nullable=False),
    time_column("revoked_at"),
    time_column("created_at", nullable=False),
)
