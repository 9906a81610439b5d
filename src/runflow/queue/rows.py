"""What the queue's statements return, row by row (`queries.py`, `completion_queries.py`, `sweep_queries.py`)."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class QueuedRun:
    """A run that was put into its lane."""

    id: UUID
    created_at: datetime


@dataclass(frozen=True, slots=True)
class OfferedRun:
    """A run that was taken out of its lane, when its offer lapses, and how the lane stands after it."""

    id: UUID
    org_id: UUID
    version_id: UUID
    input: dict[str, Any]
    timeout_seconds: int
    attempt_count: int
    expires_at: datetime
    gpu_class: str
    fingerprint: str
    models_key: str | None
    expected_seconds: float
    load_seconds: float
    least_gb: int
    left: int
    priority: int
    virtual_time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedRun:
    """A locked run that may end now: what its end's consequences want to know of it."""

    run_id: UUID
    org_id: UUID
    comfyui_workflow_id: UUID
    lane_id: UUID
    batch_id: UUID | None
    run_status: str
    created_at: datetime
    metadata: dict[str, Any] | None
    client_ref: str | None
    callback_url: str | None
    request_id: str | None
    has_webhooks: bool
    auto_evaluate: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRun(LockedRun):
    """A locked run with the locked attempt that a lease is for."""

    attempt_count: int
    lapsed_offers: int
    cost: Decimal | None
    has_budget: bool
    lease_id: UUID
    lease_status: str
    number: int | None
    gpu_code: str
    offered_at: datetime
    result_hash: str | None
    attempt_started_at: datetime | None
    run_started_at: datetime | None
    """When it began to execute, as far as a heartbeat told."""
    run_ended_at: datetime | None
    now: datetime
    worker_came_at: datetime | None
    """When the attempt's process registered first; None where another one has its name by now."""
    worker_ready_at: datetime | None
    """When the first engine of it had started."""
    requeued_at: datetime | None
    """When the last attempt before this one ended."""
    tries: int
    ran_out: bool
    """Whether an earlier attempt of it ran out of memory."""
    is_capped: bool
    """Whether only so many runs of its workflow are worked on at a time."""


@dataclass(frozen=True, slots=True)
class SmallGpu:
    """An attempt's GPU (its memory in GiB; 0: none, or not known), and what was tried on it."""

    org_id: UUID
    comfyui_workflow_id: UUID
    version_id: UUID
    lane_id: UUID
    gpu_class: str
    memory_gb: int


@dataclass(frozen=True, slots=True)
class UploadingLease:
    """How a lease stands for whoever wants to store outputs."""

    run_id: UUID
    lease_status: str
    run_ended: bool


@dataclass(frozen=True, slots=True)
class RenewedLease:
    """A lease after its renewal."""

    expires_at: datetime


@dataclass(frozen=True, slots=True)
class EndedRun:
    """When a run ended and how long it took from its dispatch on; None where it waits again."""

    completed_at: datetime | None
    duration_ms: int | None


@dataclass(frozen=True, slots=True)
class OpenLease:
    """A lease that may be taken back, and who has it."""

    lease: UUID
    worker: UUID
    instance: UUID


@dataclass(frozen=True, slots=True)
class UnansweredOffers:
    """How many offers in a row a worker left unanswered, and until when it gets none."""

    name: str
    unanswered_offers: int
    paused_until: datetime | None


@dataclass(frozen=True, slots=True)
class RunWithLeftovers:
    """An ended run of which offers were forgotten, and the attempts that it has."""

    id: UUID
    attempts: list[UUID]


@dataclass(frozen=True, slots=True)
class UnsweptAttempt:
    """An attempt that came to nothing and whose objects may still lie around."""

    id: UUID
    run_id: UUID


@dataclass(frozen=True, slots=True)
class RunPlace:
    """A queued run, and how many come before it in its lane."""

    run_id: UUID
    org_id: UUID
    gpu_class: str
    version_id: UUID
    comfyui_workflow_id: UUID
    ahead: int
    most: int | None = None
    """How many runs of its workflow may be worked on at a time; None: any number."""


@dataclass(frozen=True, slots=True)
class LaneLoad:
    """A lane with runs, as one waiting run sees it: how many of it come first, if it is of the same organization."""

    org_id: UUID
    gpu_class: str
    queued: int
    running: int
    expected_seconds: float
    ahead: int
