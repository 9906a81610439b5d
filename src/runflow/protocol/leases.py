"""Work: how a worker asks for it, what it is given, and how it keeps it (docs/leases.md)."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from annotated_types import Ge, Le, MaxLen

from runflow.protocol.bounds import Short
from runflow.protocol.cached_files import LeasedCachedFile
from runflow.protocol.events import MAX_EVENTS, Event, Preview
from runflow.protocol.outputs import ExpectedUpload, OutputName
from runflow.protocol.runtimes import BuildOrder
from runflow.protocol.workers import LeaseCall, WorkerRequest

MAX_WAIT_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What this worker's last run of a version produced; the next one's files will probably have the same names."""

    version_id: UUID
    files: Annotated[list[OutputName], MaxLen(16)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """What one engine of the worker has loaded, in the words of the lease that it ran last, and for how long."""

    domain: Short | None = field(
        default=None, metadata={"description": "The domain whose runs it executes; null: it may execute anybody's."}
    )
    fingerprint: Short
    models: Short = ""
    executed_seconds: Annotated[float, Ge(0)] = field(
        default=0, metadata={"description": "For how long it has executed since it loaded them."}
    )


WarmEngines = Annotated[list[Warm], MaxLen(16)]
Expectations = Annotated[list[Expected], MaxLen(16)]
MOST_WITHOUT = 64
Without = Annotated[list[Short], MaxLen(MOST_WITHOUT)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRequest(WorkerRequest):
    """A worker asks for work."""

    worker_id: UUID
    instance: UUID
    wait_seconds: Annotated[float, Ge(0), Le(MAX_WAIT_SECONDS)] = 25
    warm: WarmEngines = field(default_factory=list, metadata={"description": "The engine that is used next first."})
    idle: bool = field(default=True, metadata={"description": "It holds no run that has still to execute."})
    expected: Expectations = field(default_factory=list)
    several_organizations: bool | None = field(
        default=None, metadata={"description": "What the registration's answer said of that; null: it does not matter."}
    )
    without: Without = field(
        default_factory=list, metadata={"description": "The domains of which it can take no run at the moment."}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedVersion:
    """The version that a run is pinned to."""

    id: UUID
    number: int
    fingerprint: str
    prompt: dict[str, Any]
    interface: dict[str, Any]
    manifest: dict[str, Any]
    models_key: str = field(
        default="", metadata={"description": "Names its large models together; empty where it has none."}
    )
    build: BuildOrder | None = field(
        default=None,
        metadata={"description": "It is executed in a runtime of its own; null: in the worker's own ComfyUI."},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedFile:
    """A file input: where it is fetched, and what it must be."""

    url: str
    filename: str
    mime_type: str
    size_bytes: int
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedResource:
    """A file of the version, with its place below the input folder, as the prompt spells it."""

    path: str
    url: str
    size_bytes: int
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedModel:
    """A model that the version declares. Only an owned engine's worker places it.

    A worker that does not tell `fetches_addresses` is sent only those that the version's organization has uploaded.
    """

    path: str = field(
        metadata={"description": "Its place below ComfyUI's `models/`.", "examples": ["checkpoints/mine.safetensors"]}
    )
    url: str | None = field(
        default=None, metadata={"description": "Where it is fetched; null: nowhere, the worker must have it."}
    )
    size_bytes: int | None = None
    sha256: str | None = field(default=None, metadata={"description": "Its content; null: whatever is at its place."})
    is_upload: bool = field(
        default=True,
        metadata={
            "description": "The URL is the server's own, for a file that the organization has uploaded. Else it is an "
            "address that the version's author wrote: fetched through the guarded client, with no token of ours."
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What this run may use."""

    timeout_seconds: float
    max_output_bytes: int
    inline_bytes: int = field(
        default=0,
        metadata={"description": "Outputs of so many bytes in all may come with the completion; 0: none."},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One attempt of one run."""

    id: UUID
    run_id: UUID
    attempt_number: int
    expires_at: datetime
    domain: str = field(
        metadata={
            "description": "Whose run it is: its organization's id. Runs of different domains must not share an engine "
            "process, unless the worker's operator says otherwise (`RUNFLOW_ISOLATION`)."
        }
    )
    version: LeasedVersion
    input: dict[str, Any]
    files: dict[str, LeasedFile] = field(
        default_factory=dict, metadata={"description": "By reference, `runflow://assets/…`."}
    )
    resources: list[LeasedResource] = field(default_factory=list)
    models: list[LeasedModel] = field(default_factory=list)
    cached: list[LeasedCachedFile] = field(
        default_factory=list, metadata={"description": "Files that the version takes from caches of libraries."}
    )
    uploads: list[ExpectedUpload] = field(
        default_factory=list, metadata={"description": "For the outputs that the request said to expect."}
    )
    limits: Limits
    tracebacks: bool = field(
        default=False,
        metadata={
            "description": "The caller is the workflow's owner: the run's log may show the traceback of a node that "
            "fails, without folders of the machine. Never so for a public workflow of another organization."
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseAnswer:
    """A lease, or null when there was no work."""

    lease: Lease | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(LeaseCall):
    """A worker renews a lease."""

    events: Annotated[list[Event], MaxLen(MAX_EVENTS)] = field(default_factory=list)
    preview: Preview | None = field(
        default=None, metadata={"description": "Only where the answer before asked for pictures."}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatAnswer:
    """The lease is renewed."""

    expires_at: datetime
    cancel: bool = field(metadata={"description": "Stop exactly this prompt, then complete with `cancelled`."})
    preview: bool = field(
        default=False, metadata={"description": "Somebody looks on: send the newest picture with the next heartbeat."}
    )
