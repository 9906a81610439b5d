"""Shapes of the operator's overview."""

from uuid import UUID

from pydantic import BaseModel, Field

from runflow.web.responses import Timestamp


class ServerInfo(BaseModel):
    """The server process that answers."""

    version: str = Field(description="Release of the server.", examples=["0.1.0"])
    processes: int = Field(description="Server processes that are connected to this database.")


class DatabaseInfo(BaseModel):
    """The database."""

    version: str = Field(examples=["17.6"])
    size_bytes: int


class StorageInfo(BaseModel):
    """Where files lie."""

    kind_code: str = Field(description="`disk` or `bucket`.")
    free_bytes: int | None = Field(description="Free on the disk; null for a bucket.")
    total_bytes: int | None = Field(description="Size of the disk; null for a bucket.")


class LaneInfo(BaseModel):
    """A lane that has runs: one organization's runs of one workflow version for one GPU class."""

    id: UUID
    organization: str = Field(description="Slug of the organization that dispatched the runs.")
    workflow: str = Field(description="Address of the workflow.", examples=["acme/portrait"])
    version: str = Field(examples=["3"])
    gpu_class: str = Field(description="`auto`, or the GPU classes that may run them.", examples=["L40S"])
    queued: int
    running: int = Field(description="Runs that a worker holds.")
    oldest_wait_seconds: float | None = Field(description="How long its first run has waited; null when none waits.")


class QueueInfo(BaseModel):
    """What waits, and what is being worked on."""

    queued: int
    running: int = Field(description="Runs that a worker holds.")
    oldest_wait_seconds: float | None
    lanes: list[LaneInfo] = Field(description="The lanes with runs, the longest wait first; at most 100 of them.")
    lanes_total: int = Field(description="How many lanes have runs.")


class WorkerInfo(BaseModel):
    """A worker, and how much it works on."""

    id: UUID
    name: str
    gpu_code: str
    status_code: str
    status_detail: str | None
    online: bool
    draining: bool
    paused: bool = Field(description="Gets no offers for a minute, because it did not answer the last ones.")
    executing: int = Field(description="Runs of all organizations that it executes or prepares.")
    last_seen_at: Timestamp
    comfyui_version: str | None = Field(description="Of its engine; like the counts null where it did not say.")
    node_types_count: int | None
    node_packs_count: int | None
    models_count: int | None
    sandbox_rung: str | None = Field(description="What keeps its engine in; null where it has not said.")
    fork_level: int | None = Field(description="Of the fork server that its engines come from; null: plain boots.")


class DeliveriesInfo(BaseModel):
    """Callbacks and webhook messages that have not arrived yet."""

    pending: int
    overdue: int = Field(description="Of these, due for more than a minute.")
    oldest_due_seconds: float | None = Field(description="How long the first of them has been due; null when none is.")


class RecentRuns(BaseModel):
    """Runs that were dispatched within the last hour, by their status now."""

    queued: int
    dispatching: int
    running: int
    succeeded: int
    failed: int
    cancelled: int


class RecentColdStarts(BaseModel):
    """How many runs that were dispatched within the last hour were cold starts, by cause; a run can have several."""

    machine: int = Field(description="Their worker came only after they were dispatched.")
    runtime: int = Field(description="The runtime of their version was built or fetched first.")
    model: int = Field(description="Their models were loaded, or waited for a second or more.")
    engine: int = Field(description="An engine was started for them.")


class Overview(BaseModel):
    """The installation at one moment."""

    at: Timestamp
    server: ServerInfo
    database: DatabaseInfo
    storage: StorageInfo
    organizations: int = Field(description="How many there are.")
    queue: QueueInfo
    workers: list[WorkerInfo] = Field(description="Those that are connected first, then by name; at most 500.")
    deliveries: DeliveriesInfo
    last_hour: RecentRuns
    cold_starts_last_hour: RecentColdStarts
