"""Tables of runs, their attempts, outputs, node runs and events, and the rows that are read of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Column, Double, FetchedValue, Integer, Numeric, Table, Text

from runflow.db.tables import json_column, metadata, time_column, uuid_column

runs = Table(
    "runs",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    uuid_column("comfyui_workflow_id", nullable=False),
    uuid_column("version_id", nullable=False),
    Column("target_version", Text, nullable=False),
    Column("target_type", Text, nullable=False),
    uuid_column("batch_id"),
    Column("batch_index", Integer),
    uuid_column("rerun_of"),
    Column("status_code", Text, nullable=False),
    Column("source_code", Text, nullable=False),
    json_column("input", nullable=False),
    json_column("metadata"),
    Column("client_ref", Text),
    Column("callback_url", Text),
    Column("request_id", Text),
    uuid_column("created_by"),
    uuid_column("lane_id", nullable=False),
    Column("gpu_class", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("queue_position", BigInteger, nullable=False),
    Column("timeout_seconds", Integer, nullable=False),
    Column("attempt_count", Integer, nullable=False),
    Column("lapsed_offers", Integer, nullable=False),
    time_column("cancel_requested_at"),
    Column("cancellation_reason", Text),
    Column("nodes_total", Integer),
    Column("nodes_completed", Integer),
    Column("has_logs", Boolean, nullable=False),
    Column("has_node_runs", Boolean, nullable=False),
    time_column("created_at", nullable=False),
    time_column("started_at"),
    time_column("completed_at"),
    Column("duration_ms", Integer),
    Column("cost", Numeric(14, 6)),
    json_column("cost_breakdown"),
    Column("gpu_seconds", Numeric(14, 3)),
    Column("cold_start", Boolean, nullable=False),
    Column("queue_ms", Integer, FetchedValue()),
    Column("waited_ms", Integer),
    Column("machine_ms", Integer),
    Column("runtime_ms", Integer),
    Column("model_ms", Integer),
    Column("engine_ms", Integer),
    Column("cold_machine", Boolean, nullable=False),
    Column("cold_runtime", Boolean, nullable=False),
    Column("cold_model", Boolean, nullable=False),
    Column("failure_code", Text),
    Column("failure_stage_code", Text),
    Column("failure_message", Text),
    json_column("failure_details"),
    Column("output_expired", Boolean, nullable=False),
    Column("has_leftovers", Boolean, nullable=False),
)

run_attempts = Table(
    "run_attempts",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    uuid_column("run_id", nullable=False),
    Column("number", Integer),
    uuid_column("worker_id", nullable=False),
    uuid_column("worker_instance", nullable=False),
    Column("gpu_code", Text, nullable=False),
    Column("status_code", Text, nullable=False),
    time_column("offered_at", nullable=False),
    time_column("started_at"),
    time_column("expires_at", nullable=False),
    time_column("completed_at"),
    Column("prepare_ms", Integer),
    Column("load_ms", Integer),
    Column("execute_ms", Integer),
    Column("upload_ms", Integer),
    Column("waited_ms", Integer),
    Column("machine_ms", Integer),
    Column("runtime_ms", Integer),
    Column("model_ms", Integer),
    Column("engine_ms", Integer),
    Column("cold_start", Boolean, nullable=False),
    Column("peak_memory_bytes", BigInteger),
    Column("failure_code", Text),
    Column("failure_message", Text),
    Column("result_hash", Text),
    Column("objects_swept", Boolean, nullable=False),
    Column("charged_seconds", Double, nullable=False),
)

run_outputs = Table(
    "run_outputs",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    uuid_column("run_id", nullable=False),
    uuid_column("attempt_id", nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("output_id", Text, nullable=False),
    Column("node_id", Text, nullable=False),
    Column("object_key", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text),
    Column("width", Integer),
    Column("height", Integer),
    time_column("created_at", nullable=False),
)

run_node_runs = Table(
    "run_node_runs",
    metadata,
    uuid_column("id", primary_key=True),
    uuid_column("org_id", nullable=False),
    uuid_column("run_id", nullable=False),
    uuid_column("attempt_id", nullable=False),
    Column("node_id", Text, nullable=False),
    Column("node_type", Text, nullable=False),
    Column("title", Text),
    Column("state_code", Text, nullable=False),
    time_column("started_at"),
    time_column("completed_at"),
    Column("duration_ms", Integer),
    Column("load_ms", Integer),
    Column("error_message", Text),
    time_column("created_at", nullable=False),
)

run_events = Table(
    "run_events",
    metadata,
    uuid_column("run_id", primary_key=True),
    Column("sequence", Integer, primary_key=True),
    uuid_column("id"),
    uuid_column("org_id", nullable=False),
    uuid_column("attempt_id"),
    Column("type_code", Text, nullable=False),
    json_column("data", nullable=False),
    time_column("created_at", nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run as its record needs it. What has a default is heavy, and read only where it is asked for."""

    id: UUID
    org_id: UUID
    comfyui_workflow_id: UUID
    version_id: UUID
    target_version: str
    target_type: str
    batch_id: UUID | None
    batch_index: int | None
    rerun_of: UUID | None
    status_code: str
    source_code: str
    priority: int
    client_ref: str | None
    callback_url: str | None
    request_id: str | None
    created_by: UUID | None
    gpu_class: str
    attempt_count: int
    cancellation_reason: str | None
    nodes_total: int | None
    nodes_completed: int | None
    has_logs: bool
    has_node_runs: bool
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    duration_ms: int | None
    waited_ms: int | None
    machine_ms: int | None
    runtime_ms: int | None
    model_ms: int | None
    engine_ms: int | None
    cost: Decimal | None
    failure_code: str | None
    failure_stage_code: str | None
    failure_message: str | None
    output_expired: bool
    input: Any = None
    metadata: Any = None
    cost_breakdown: dict[str, Any] | None = None
    failure_details: dict[str, Any] | None = None
    outputs: Sequence[dict[str, Any]] = ()
    evaluation: dict[str, Any] | None = None
    """What `runs.queries.summary_of_run` gives."""
    model: str | None = None
    """The workflow's path, where the run's organization may know it."""


@dataclass(frozen=True, slots=True)
class LogRow:
    """A line of a run's log: an event of the type `log`."""

    id: UUID
    run_id: UUID
    sequence: int
    data: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NodeRunRow:
    """A node's part of an attempt."""

    id: UUID
    run_id: UUID
    attempt_id: UUID
    node_id: str
    node_type: str
    title: str | None
    state_code: str
    started_at: datetime | None
    completed_at: datetime | None
    duration_ms: int | None
    load_ms: int | None
    error_message: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """An attempt of a run that its worker took up."""

    id: UUID
    run_id: UUID
    number: int
    worker_id: UUID
    gpu_code: str
    status_code: str
    started_at: datetime | None
    completed_at: datetime | None
    prepare_ms: int | None
    load_ms: int | None
    execute_ms: int | None
    upload_ms: int | None
    waited_ms: int | None
    machine_ms: int | None
    runtime_ms: int | None
    model_ms: int | None
    engine_ms: int | None
    cold_start: bool
    peak_memory_bytes: int | None
    failure_code: str | None
    failure_message: str | None


@dataclass(frozen=True, slots=True)
class EventsRow:
    """A run, its attempts and stored events, of which `runs.history.timeline` makes what happened."""

    status_code: str
    created_at: datetime
    completed_at: datetime | None
    duration_ms: int | None
    waited_ms: int | None
    machine_ms: int | None
    runtime_ms: int | None
    model_ms: int | None
    engine_ms: int | None
    failure_code: str | None
    failure_stage_code: str | None
    failure_message: str | None
    cancellation_reason: str | None
    attempts: list[dict[str, Any]]
    events: list[dict[str, Any]]
