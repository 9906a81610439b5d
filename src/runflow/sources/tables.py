"""Tables of sources, and of which versions name them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ARRAY, Column, Integer, Table, Text

from runflow.db.tables import metadata, time_column, uuid_column


class SourceState(StrEnum):
    """What the operator said of a source."""

    WAITING = "waiting"
    APPROVED = "approved"
    REVOKED = "revoked"


sources = Table(
    "sources",
    metadata,
    uuid_column("id", primary_key=True),
    Column("origin", Text, nullable=False),
    Column("commit", Text, nullable=False),
    Column("state_code", Text, nullable=False),
    time_column("first_seen_at", nullable=False),
    time_column("decided_at"),
    uuid_column("decided_by"),
)


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row of `sources`."""

    id: UUID
    origin: str
    commit: str
    state_code: str
    first_seen_at: datetime
    decided_at: datetime | None
    decided_by: UUID | None


version_sources = Table(
    "version_sources",
    metadata,
    uuid_column("org_id", nullable=False),
    uuid_column("version_id", primary_key=True),
    uuid_column("source_id", primary_key=True),
    Column("kind_code", Text, nullable=False),
    Column("names", ARRAY(Text), nullable=False),
    Column("packages_count", Integer, nullable=False),
)
