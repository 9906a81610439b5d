"""Tables of examples and golden runs, and what their rows hold."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Column, Integer, Table, Text

from runflow.db.tables import json_column, metadata, time_column, uuid_column


class GoldenStatus(StrEnum):
    """How a golden run stands."""

    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


workflow_examples = Table(
    "workflow_examples",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    uuid_column("workflow_id", nullable=False),
    Column("name", Text, nullable=False),
    json_column("input", nullable=False),
    Column("evaluate", Boolean, nullable=False),
    uuid_column("run_id"),
    uuid_column("created_by"),
    time_column("created_at", nullable=False),
    time_column("updated_at", nullable=False),
)


@dataclass(frozen=True, slots=True)
class ExampleRow:
    """A row of `workflow_examples`."""

    id: UUID
    org_id: UUID
    workflow_id: UUID
    name: str
    input: dict[str, Any]
    evaluate: bool
    run_id: UUID | None
    created_by: UUID | None
    created_at: datetime
    updated_at: datetime


golden_runs = Table(
    "golden_runs",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    uuid_column("workflow_id", nullable=False),
    uuid_column("version_id", nullable=False),
    Column("status_code", Text, nullable=False),
    json_column("reasons", nullable=False),
    uuid_column("created_by", nullable=False),
    Column("request_id", Text),
    time_column("expires_at", nullable=False),
    time_column("due_at"),
    time_column("created_at", nullable=False),
    time_column("completed_at"),
)


@dataclass(frozen=True, slots=True)
class GoldenRow:
    """A row of `golden_runs` with the number of its version."""

    id: UUID
    org_id: UUID
    workflow_id: UUID
    version_id: UUID
    number: int
    status_code: str
    reasons: list[dict[str, Any]]
    created_by: UUID
    request_id: str | None
    expires_at: datetime
    created_at: datetime
    completed_at: datetime | None


golden_run_examples = Table(
    "golden_run_examples",
    metadata,
    uuid_column("golden_run_id", primary_key=True),
    uuid_column("org_id", nullable=False),
    Column("place", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    json_column("input", nullable=False),
    Column("evaluate", Boolean, nullable=False),
    uuid_column("run_id"),
)


@dataclass(frozen=True, slots=True)
class GoldenExampleRow:
    """A row of `golden_run_examples` with what became of its run."""

    golden_run_id: UUID
    place: int
    name: str
    input: dict[str, Any]
    evaluate: bool
    run_id: UUID | None
    run_status: str | None
    failure_code: str | None
    failure_message: str | None
