"""Tables of organizations, users and members."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, Table, Text

from runflow.db.tables import metadata, time_column, uuid_column

organizations = Table(
    "organizations",
    metadata,
    uuid_column("id", primary_key=True),
    Column("slug", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("plan_code", Text, nullable=False),
    time_column("created_at", nullable=False),
    time_column("updated_at", nullable=False),
)


@dataclass(frozen=True, slots=True)
class OrganizationRow:
    """A row of `organizations`."""

    id: UUID
    slug: str
    name: str
    plan_code: str
    created_at: datetime
    updated_at: datetime


users = Table(
    "users",
    metadata,
    uuid_column("id", primary_key=True),
    Column("email", Text, nullable=False),
    time_column("created_at", nullable=False),
)

members = Table(
    "members",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    uuid_column("user_id", nullable=False),
    Column("role_code", Text, nullable=False),
    Column("first_name", Text),
    Column("last_name", Text),
    uuid_column("created_by"),
    time_column("created_at", nullable=False),
    time_column("updated_at", nullable=False),
)
