"""Shapes of log lines, node runs and attempts on the wire (docs/api/runs.md, "Logs, node runs, attempts")."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from runflow.runs.schemas import Run, Wait
from runflow.runs.tables import AttemptRow, LogRow, NodeRunRow
from runflow.runs.waits import wait_document
from runflow.web.responses import Timestamp


class LogLevel(StrEnum):
    """How serious a log line is."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class NodeState(StrEnum):
    """How far a node came."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CACHED = "cached"
    FAILED = "failed"


class AttemptStatus(StrEnum):
    """How an attempt stands."""

    LIVE = "live"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


class LogLine(BaseModel):
    """One line of a run's log."""

    id: UUID
    run_id: UUID
    number: int = Field(description="Its place among the run's events: the id that the event stream gives it.")
    level_code: LogLevel
    message: str
    timestamp: Timestamp
    meta: dict[str, Any] | None = Field(description="What else the worker said.")
    run: Run | None = Field(default=None, description="With `embed=run`.")


class NodeRun(BaseModel):
    """One node's turn in one attempt of a run."""

    id: UUID
    run_id: UUID
    attempt_id: UUID
    node_id: str
    node_type: str
    title: str | None
    state_code: NodeState
    duration_ms: int | None
    load_ms: int | None = Field(description="How much of it was loading models; null where that is not known.")
    error_message: str | None
    created_at: Timestamp
    started_at: Timestamp | None
    completed_at: Timestamp | None
    flow_id: UUID | None
    input: dict[str, Any] | None
    output: dict[str, Any] | None
    input_signature: str | None
    preview_type: str | None
    preview_value: str | None
    cost: str | None
    retry_count: int


class Attempt(BaseModel):
    """One try of a run on one worker."""

    id: UUID
    run_id: UUID
    number: int = Field(description="From 1 up. What a worker gave back untouched has a number, too, and is no try.")
    worker_id: UUID
    gpu_code: str
    status_code: AttemptStatus
    started_at: Timestamp | None
    completed_at: Timestamp | None
    prepare_ms: int | None = Field(description="Fetching inputs, placing resources.")
    load_ms: int | None = Field(description="Loading models inside the engine, as far as it tells.")
    execute_ms: int | None = Field(description="The engine's other work on the prompt.")
    upload_ms: int | None
    wait: Wait | None = Field(description="What it waited for since the run was submitted; null until it has ended.")
    cold_start: bool
    peak_memory_bytes: int | None = Field(
        description="The most memory that the engine needed: of the GPU, or without one of its process."
    )
    failure_code: str | None
    failure_message: str | None


_TOLD = frozenset({"level_code", "message"})
_ATTEMPT = tuple(name for name in Attempt.model_fields if name != "wait")
_OF_FLOWS = ("flow_id", "input", "output", "input_signature", "preview_type", "preview_value", "cost")
_NODE_RUN_EMPTY = {**dict.fromkeys(_OF_FLOWS), "retry_count": 0}
_NODE_RUN = tuple(name for name in NodeRun.model_fields if name not in _NODE_RUN_EMPTY)


def attempt_record(row: AttemptRow) -> dict[str, Any]:
    """Return one attempt."""
    return {name: getattr(row, name) for name in _ATTEMPT} | {"wait": wait_document(row)}


def node_run_record(row: NodeRunRow) -> dict[str, Any]:
    """Return one node run. What only steps of flows have is empty."""
    return {name: getattr(row, name) for name in _NODE_RUN} | _NODE_RUN_EMPTY


def log_record(row: LogRow) -> dict[str, Any]:
    """Return one log line."""
    told = row.data
    level = told.get("level_code")
    return {
        "id": row.id,
        "run_id": row.run_id,
        "number": row.sequence,
        "level_code": level if level in tuple(LogLevel) else LogLevel.INFO.value,
        "message": str(told.get("message", "")),
        "timestamp": row.created_at,
        "meta": {key: value for key, value in told.items() if key not in _TOLD} or None,
    }
