"""The end of an attempt: what it made, or why it failed, and where its time went."""

from dataclasses import dataclass, field
from typing import Annotated, Literal
from uuid import UUID

from annotated_types import Ge, Le, MaxLen

from runflow.protocol.bounds import Bytes, Milliseconds, Pixels, Sha256, Short, Text, Time
from runflow.protocol.events import MAX_EVENTS, Event, NodeRun
from runflow.protocol.failures import Failure
from runflow.protocol.leases import Expectations, Lease, WarmEngines, Without
from runflow.protocol.outputs import MAX_OUTPUTS, OutputName
from runflow.protocol.runtimes import BuildReport
from runflow.protocol.workers import LeaseCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Output(OutputName):
    """An output file that the worker has uploaded, or whose bytes come with the completion."""

    size_bytes: Bytes
    output_id: Short
    node_id: Short
    object_key: Annotated[Text, MaxLen(1024)] | None = field(
        default=None, metadata={"description": "Null where its bytes come with the completion."}
    )
    sha256: Sha256 | None = None
    width: Pixels | None = None
    height: Pixels | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Where the time of an attempt went. The engine's time is `load_ms` and `execute_ms` together."""

    started_at: Time | None = None
    prepare_ms: Milliseconds = 0
    runtime_ms: Milliseconds = field(
        default=0, metadata={"description": "How long the run waited for its version's runtime to be built or fetched."}
    )
    model_ms: Milliseconds = field(
        default=0,
        metadata={"description": "How long it waited for its models to be fetched and placed. Part of `prepare_ms`."},
    )
    engine_ms: Milliseconds = field(
        default=0, metadata={"description": "How long it waited for an engine to start that takes it."}
    )
    load_ms: Milliseconds = field(
        default=0,
        metadata={
            "description": "How long models were loaded inside the engine, as far as it tells; not in `execute_ms`."
        },
    )
    execute_ms: Milliseconds = field(
        default=0, metadata={"description": "How long the engine worked on the prompt, without `load_ms`."}
    )
    upload_ms: Milliseconds = 0
    cold_start: bool = field(
        default=False,
        metadata={"description": "The engine had to be started first: this was the first prompt of its life."},
    )
    loaded: bool | None = field(
        default=None,
        metadata={
            "description": "The engine had other models loaded than the run's, or none, so that it had to load them. "
            "Null: not known."
        },
    )
    peak_memory_bytes: Annotated[int, Ge(0), Le(2**60)] | None = field(
        default=None,
        metadata={
            "description": "The most memory that the engine needed: of the GPU, or without one of its process. "
            "Null: not known."
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """The worker has room: its next run may come with the answer. As in a request for work."""

    warm: WarmEngines = field(default_factory=list)
    idle: bool = True
    expected: Expectations = field(default_factory=list)
    several_organizations: bool | None = None
    without: Without = field(default_factory=list)


Result = Literal["succeeded", "failed", "cancelled", "released"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion(LeaseCall):
    """The end of an attempt."""

    result: Result
    outputs: Annotated[list[Output], MaxLen(MAX_OUTPUTS)] = field(default_factory=list)
    error: Failure | None = None
    timings: Timings = Timings()
    nodes: Annotated[list[NodeRun], MaxLen(MAX_OUTPUTS)] = field(default_factory=list)
    events: Annotated[list[Event], MaxLen(MAX_EVENTS)] = field(default_factory=list)
    next: Next | None = None
    built: BuildReport | None = field(
        default=None, metadata={"description": "How the build of its runtime went, where this run had to wait for it."}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionAnswer:
    """The attempt is over."""

    run_id: UUID
    status_code: str = field(metadata={"description": "The run's: `queued` where another attempt follows."})
    lease: Lease | None = field(
        default=None, metadata={"description": "Where `next` was sent and a run waited: as in an answer with work."}
    )
