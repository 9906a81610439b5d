"""Shapes of the Worker API (docs/worker-api.md). Everything a worker sends is bounded: workers are not trusted."""

from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, Field

from runflow.runs.failures import FailureCode, FailureStage

PROTOCOL_VERSION = 1

Text = Annotated[str, AfterValidator(lambda value: value.replace("\0", "\ufffd"))]
"""Text from custom nodes and engines: PostgreSQL stores no NUL."""
Short = Annotated[Text, Field(max_length=255)]
Sentence = Annotated[Text, AfterValidator(lambda value: value[:4000])]
MAX_DOCUMENT_BYTES = 64 * 1024
"""Longest JSON document in what a worker tells: each is stored, and shown to callers."""
MAX_LINE = 16 * 1024
"""Longest log line, in characters; the rest is cut off."""


def _bounded(document: dict[str, Any]) -> dict[str, Any]:
    try:
        size = len(orjson.dumps(document))
    except TypeError:
        raise ValueError("is nested too deeply") from None
    if size > MAX_DOCUMENT_BYTES:
        raise ValueError(f"has more than {MAX_DOCUMENT_BYTES} bytes as JSON")
    return document


def _cut(data: Any) -> Any:
    line = data.get("message") if isinstance(data, dict) else None
    return {**data, "message": line[:MAX_LINE]} if isinstance(line, str) and len(line) > MAX_LINE else data


Document = Annotated[dict[str, Any], AfterValidator(_bounded)]
Milliseconds = Annotated[int, Field(ge=0, le=10**9)]


class WorkerRequest(BaseModel):
    """What every request of a worker carries."""

    protocol_version: int


class Gpu(BaseModel):
    """The worker's GPU class; `CPU` without one."""

    code: Short = "CPU"
    name: Short | None = None
    memory_gb: Annotated[int, Field(ge=0, le=100_000)] = 0


class Registration(WorkerRequest):
    """A worker says what it is."""

    name: Annotated[Short, Field(min_length=1)]
    instance: UUID
    gpu: Gpu = Gpu()
    labels: dict[Short, Short] = Field(default={}, max_length=64)
    status: Literal["ready", "no_engine", "engine_down"]
    status_detail: Sentence | None = None
    engine: Annotated[Document, Field(max_length=64)] | None = None
    fingerprints: list[Short] = Field(default=[], max_length=256)


class LeaseCall(WorkerRequest):
    """A worker speaks about a lease that it holds."""

    worker_id: UUID
    instance: UUID


class Event(BaseModel):
    """Something that happened in a run; `number` counts from 1 within the lease."""

    number: Annotated[int, Field(ge=1, lt=900_000)]
    type: Literal["status", "progress", "log", "node"]
    at: AwareDatetime
    data: Annotated[dict[str, Any], BeforeValidator(_cut), AfterValidator(_bounded), Field(max_length=32)]


class Heartbeat(LeaseCall):
    """A worker renews a lease."""

    events: list[Event] = Field(default=[], max_length=10_000)


class OutputName(BaseModel):
    """Where a file stands among a run's outputs, and what it is called."""

    ordinal: Annotated[int, Field(ge=0, lt=10_000)]
    filename: Annotated[Short, Field(min_length=1)]
    content_type: Annotated[Short, Field(min_length=1)]


class Expected(BaseModel):
    """What this worker's last run of a version produced; the next one's files will probably have the same names."""

    version_id: UUID
    files: list[OutputName] = Field(max_length=16)


class LeaseRequest(WorkerRequest):
    """A worker asks for work."""

    worker_id: UUID
    instance: UUID
    wait_seconds: Annotated[float, Field(ge=0, le=30)] = 25
    fingerprints: list[Short] = Field(default=[], max_length=256)
    expected: list[Expected] = Field(default=[], max_length=16)


class OutputFile(OutputName):
    """A file that the worker wants to upload; without a size, one that it only expects."""

    size_bytes: Annotated[int, Field(ge=0)] | None = None


class Uploads(LeaseCall):
    """A worker asks for signed upload URLs."""

    files: list[OutputFile] = Field(min_length=1, max_length=1000)


class Output(OutputName):
    """An output file that the worker has uploaded."""

    size_bytes: Annotated[int, Field(ge=0)]
    output_id: Short
    node_id: Short
    object_key: Annotated[Text, Field(max_length=1024)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    width: Annotated[int, Field(ge=0, le=10**6)] | None = None
    height: Annotated[int, Field(ge=0, le=10**6)] | None = None


class Failure(BaseModel):
    """Why a run failed, cleaned for its caller."""

    code: FailureCode
    stage: FailureStage
    message: Sentence
    node_id: Short | None = None
    node_type: Short | None = None
    details: Document | None = None
    retryable: bool = False


class Timings(BaseModel):
    """Where the time of an attempt went."""

    started_at: AwareDatetime | None = None
    prepare_ms: Milliseconds = 0
    load_ms: Milliseconds = 0
    execute_ms: Milliseconds = 0
    upload_ms: Milliseconds = 0
    cold_start: bool = False
    """The engine had to be started first: this was the first prompt of its life."""


class NodeRun(BaseModel):
    """One node of one attempt."""

    node_id: Short
    node_type: Short
    title: Sentence | None = None
    state_code: Literal["running", "succeeded", "cached", "failed"]
    started_at: AwareDatetime | None = None
    completed_at: AwareDatetime | None = None
    duration_ms: Milliseconds | None = None
    error_message: Sentence | None = None


class Completion(LeaseCall):
    """The end of an attempt."""

    result: Literal["succeeded", "failed", "cancelled", "released"]
    outputs: list[Output] = Field(default=[], max_length=10_000)
    error: Failure | None = None
    timings: Timings = Timings()
    nodes: list[NodeRun] = Field(default=[], max_length=10_000)
    events: list[Event] = Field(default=[], max_length=10_000)
