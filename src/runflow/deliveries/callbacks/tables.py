"""Table of callback secrets."""

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
