"""Tables of assets, their folders, and the upload sessions that become assets."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Column, Table, Text

from runflow.db.tables import metadata, time_column, uuid_column

assets = Table(
    "assets",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    uuid_column("folder_id"),
    Column("name", Text, nullable=False),
    Column("object_key", Text, nullable=False),
    Column("thumbnail_key", Text),
    Column("mime_type", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text),
    Column("asset_type", Text, nullable=False),
    Column("source_type", Text, nullable=False),
    uuid_column("source_id"),
    uuid_column("created_by"),
    time_column("created_at", nullable=False),
    time_column("updated_at", nullable=False),
    time_column("deleted_at"),
    uuid_column("deleted_by"),
    time_column("purge_at"),
    time_column("used_at"),
)


@dataclass(frozen=True, slots=True)
class AssetRow:
    """A row of `assets`."""

    id: UUID
    org_id: UUID
    folder_id: UUID | None
    name: str
    object_key: str
    thumbnail_key: str | None
    mime_type: str
    size_bytes: int
    sha256: str | None
    asset_type: str
    source_type: str
    source_id: UUID | None
    created_by: UUID | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    deleted_by: UUID | None
    purge_at: datetime | None
    used_at: datetime | None


asset_folders = Table(
    "asset_folders",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    uuid_column("parent_id"),
    Column("name", Text, nullable=False),
    uuid_column("created_by"),
    time_column("created_at", nullable=False),
    time_column("updated_at", nullable=False),
)


@dataclass(frozen=True, slots=True)
class AssetFolderRow:
    """A row of `asset_folders`."""

    id: UUID
    org_id: UUID
    parent_id: UUID | None
    name: str
    created_by: UUID | None
    created_at: datetime
    updated_at: datetime


asset_uploads = Table(
    "asset_uploads",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    Column("filename", Text, nullable=False),
    Column("mime_type", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("object_key", Text, nullable=False),
    time_column("expires_at", nullable=False),
    time_column("confirmed_at"),
    uuid_column("created_by"),
    time_column("created_at", nullable=False),
)


@dataclass(frozen=True, slots=True)
class AssetUploadRow:
    """A row of `asset_uploads`."""

    id: UUID
    org_id: UUID
    filename: str
    mime_type: str
    size_bytes: int
    object_key: str
    expires_at: datetime
    confirmed_at: datetime | None
    created_by: UUID | None
    created_at: datetime
