"""Shapes of the Worker API (docs/worker-api.md): what a worker sends, and what it is answered.

Everything that a worker sends is bounded: workers are not trusted.
"""

from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, Field

from runflow.protocol.failures import FailureCode, Stage
from runflow.web.responses import Timestamp
from runflow.workers.gpus.schemas import Short, Text

PROTOCOL_VERSION = 1

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
    stage: Stage
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


class Registered(BaseModel):
    """The server knows this worker."""

    worker_id: UUID
    lease_seconds: int = Field(description="A lease that is not renewed for so long is lost.")
    offer_seconds: int = Field(description="The first heartbeat of a lease must come within this time.")
    poll_seconds: int = Field(description="How long to wait in one request for work.")


class LeasedVersion(BaseModel):
    """The version that a run is pinned to."""

    id: UUID
    number: int
    fingerprint: str
    prompt: dict[str, Any]
    interface: dict[str, Any]
    manifest: dict[str, Any]


class LeasedFile(BaseModel):
    """A file input: where it is fetched, and what it must be."""

    url: str
    filename: str
    mime_type: str
    size_bytes: int
    sha256: str | None


class LeasedResource(BaseModel):
    """A file of the version, with its place below the input folder."""

    path: str
    url: str
    size_bytes: int
    sha256: str | None


class LeasedModel(BaseModel):
    """A model of the version that its organization has uploaded. Only an owned engine's worker places it."""

    path: str = Field(description="Its place below ComfyUI's `models/`.", examples=["checkpoints/mine.safetensors"])
    url: str
    size_bytes: int
    sha256: str


class Limits(BaseModel):
    """What this run may use."""

    timeout_seconds: int
    max_output_bytes: int


class Upload(BaseModel):
    """Where one output goes."""

    ordinal: int
    object_key: str
    url: str
    method: Literal["PUT"]
    headers: dict[str, str]


class ExpectedUpload(Upload):
    """Where an output goes that the worker said to expect."""

    filename: str
    content_type: str


class Lease(BaseModel):
    """One attempt of one run."""

    id: UUID
    run_id: UUID
    attempt_number: int
    expires_at: Timestamp
    version: LeasedVersion
    input: dict[str, Any]
    files: dict[str, LeasedFile] = Field(description="By reference, `runflow://assets/…`.")
    resources: list[LeasedResource]
    models: list[LeasedModel]
    uploads: list[ExpectedUpload] = Field(description="For the outputs that the request said to expect.")
    limits: Limits


class LeaseAnswer(BaseModel):
    """A lease, or null when there was no work."""

    lease: Lease | None


class HeartbeatAnswer(BaseModel):
    """The lease is renewed."""

    expires_at: Timestamp
    cancel: bool = Field(description="Stop exactly this prompt, then complete with `cancelled`.")


class UploadsAnswer(BaseModel):
    """Signed URLs, one per file."""

    uploads: list[Upload]


class CompletionAnswer(BaseModel):
    """The attempt is over."""

    run_id: UUID
    status_code: str = Field(description="The run's: `queued` where another attempt follows.")
