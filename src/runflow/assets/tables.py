"""Tables of assets, their folders, and the upload sessions that become assets."""

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
