"""Table of batches. Their items are rows of `runs`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Integer, Table, Text

from runflow.db.tables import json_column, metadata, time_column, uuid_column

batches = Table(
    "batches",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    uuid_column("comfyui_workflow_id", nullable=False),
    uuid_column("version_id", nullable=False),
    Column("target_version", Text, nullable=False),
    Column("target_type", Text, nullable=False),
    Column("status_code", Text, nullable=False),
    Column("source_code", Text, nullable=False),
    Column("items_total", Integer, nullable=False),
    Column("items_succeeded", Integer, nullable=False),
    Column("items_failed", Integer, nullable=False),
    Column("items_cancelled", Integer, nullable=False),
    json_column("metadata"),
    Column("callback_url", Text),
    Column("cancellation_reason", Text),
    Column("request_id", Text),
    uuid_column("created_by"),
    time_column("created_at", nullable=False),
    time_column("completed_at"),
    Column("duration_ms", Integer),
)


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A row of `batches`."""

    id: UUID
    org_id: UUID
    comfyui_workflow_id: UUID
    version_id: UUID
    target_version: str
    target_type: str
    status_code: str
    source_code: str
    items_total: int
    items_succeeded: int
    items_failed: int
    items_cancelled: int
    metadata: dict[str, Any] | None
    callback_url: str | None
    cancellation_reason: str | None
    request_id: str | None
    created_by: UUID | None
    created_at: datetime
    completed_at: datetime | None
    duration_ms: int | None
