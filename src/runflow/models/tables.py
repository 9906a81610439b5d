"""Tables of uploaded models and of the sessions that bring them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Column, Table, Text, text

from runflow.db.tables import metadata, time_column, uuid_column

models = Table(
    "models",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    Column("sha256", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("filename", Text, nullable=False),
    Column("object_key", Text, nullable=False),
    uuid_column("created_by"),
    time_column("created_at", nullable=False),
)


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A row of `models`."""

    id: UUID
    org_id: UUID
    sha256: str
    size_bytes: int
    filename: str
    object_key: str
    created_by: UUID | None
    created_at: datetime


model_uploads = Table(
    "model_uploads",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    Column("sha256", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("filename", Text, nullable=False),
    Column("received_bytes", BigInteger, nullable=False, server_default=text("0")),
    uuid_column("created_by"),
    time_column("created_at", nullable=False),
    time_column("updated_at", nullable=False),
    time_column("confirmed_at"),
)


@dataclass(frozen=True, slots=True)
class ModelUploadRow:
    """A row of `model_uploads`."""

    id: UUID
    org_id: UUID
    sha256: str
    size_bytes: int
    filename: str
    received_bytes: int
    created_by: UUID | None
    created_at: datetime
    updated_at: datetime
    confirmed_at: datetime | None
