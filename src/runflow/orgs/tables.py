"""Table of organizations."""

from sqlalchemy import Column, Table, Text

from runflow.db.tables import metadata, time_column, uuid_column

organizations = Table(
    "organizations",
    metadata,
    uuid_column("id", primary_key=True),
    Column("slug", Text, nullable=False),
    Column("name", Text, nullable=False),
    time_column("created_at", nullable=False),
    time_column("updated_at", nullable=False),
)
