"""Who speaks: what every request of a worker carries, and how it says what it is (docs/worker-api.md)."""

from dataclasses import dataclass, field
from typing import Annotated, Literal
from uuid import UUID

from annotated_types import Ge, Le, MaxLen, MinLen

from runflow.protocol.abilities import Abilities, AbilityLists, Sandbox
from runflow.protocol.bounds import Document, Sentence, Short

PROTOCOL_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRequest:
    """What every request of a worker carries."""

    protocol_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseCall(WorkerRequest):
    """A worker speaks about a lease that it holds."""

    worker_id: UUID
    instance: UUID


CPU = "CPU"
"""The class of workers without a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A worker's GPU class, such as `L40S`; `CPU` without one. Memory in whole GiB."""

    code: Short = CPU
    name: Short | None = None
    memory_gb: Annotated[int, Ge(0), Le(100_000)] = 0


WorkerStatus = Literal["ready", "no_engine", "engine_down"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration(WorkerRequest):
    """A worker says what it is."""

    name: Annotated[Short, MinLen(1)]
    instance: UUID
    gpu: Gpu = Gpu()
    labels: Annotated[dict[Short, Short], MaxLen(64)] = field(default_factory=dict)
    status: WorkerStatus
    status_detail: Sentence | None = None
    engine: Annotated[Document, MaxLen(64)] | None = None
    abilities: Abilities | None = field(
        default=None, metadata={"description": "What its engine can run. Without it, the worker is offered every lane."}
    )
    lists: AbilityLists | None = field(default=None, metadata={"description": "What the last answer wanted."})
    sandbox: Sandbox | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """The server knows this worker."""

    worker_id: UUID
    lease_seconds: int = field(metadata={"description": "A lease that is not renewed for so long is lost."})
    offer_seconds: int = field(metadata={"description": "The first heartbeat of a lease must come within this time."})
    poll_seconds: int = field(metadata={"description": "How long to wait in one request for work."})
    several_organizations: bool = field(
        default=False,
        metadata={
            "description": "Whether runs of more than one organization may come. When that changes, the next request "
            "for work is answered with `CONFLICT`: register again."
        },
    )
    wants: list[str] = field(
        default_factory=list,
        metadata={
            "description": "Lists of `abilities` that the server does not know by their hash: register again with "
            "them in `lists`. Until then this worker gets no work."
        },
    )
