"""Shapes of runs on the wire, and a run as the reference shows it."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, StrictInt, WithJsonSchema

from runflow.outgoing import InvalidUrl, check_url
from runflow.web.responses import Timestamp
from runflow.workflows.fields import NUMBER_SCHEMA, VersionNumber, version_number

_ID = "0197f3a0-4b1c-7e2f-8a55-1f2e3d4c5b6a"
_ADDRESS = f"https://your-server.example/v1/runs/{_ID}"

RUN_EXAMPLE: dict[str, Any] = {
    "id": _ID,
    "org_id": "0197f39f-0000-7000-8000-000000000001",
    "model": "default/portrait",
    "comfyui_workflow_id": "0197f3a0-0000-7000-8000-000000000002",
    "target_type": "comfyui_workflow",
    "target_version": "3",
    "status_code": "succeeded",
    "status": "succeeded",
    "is_terminal": True,
    "source_code": "api",
    "priority": 0,
    "input": {"prompt": "a sea otter holding a smooth pebble", "width": 1024},
    "output": {
        "kind": "comfyui_outputs",
        "outputs": [
            {
                "output_id": "picture",
                "url": "https://your-server.example/v1/storage/runs/…/0-picture_00001.png?expires=…&signature=…",
                "content_type": "image/png",
                "size_bytes": 1482011,
                "filename": "picture_00001.png",
                "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "width": 1024,
                "height": 1024,
                "node_id": "9",
            }
        ],
        "image_urls": ["https://your-server.example/v1/storage/runs/…/0-picture_00001.png?expires=…&signature=…"],
    },
    "output_expired": False,
    "duration_ms": 10210,
    "wait": {"queue_ms": 40, "machine_ms": 0, "runtime_ms": 0, "model_ms": 3, "engine_ms": 217},
    "cost": "0.004382",
    "cost_breakdown": {
        "gpu_code": "L40S",
        "price_per_second": "0.000444",
        "prepare_seconds": "0.231",
        "load_seconds": "0.000",
        "execute_seconds": "9.870",
        "billable_seconds": "9.870",
        "attempts": 1,
    },
    "nodes_total": 7,
    "nodes_completed": 7,
    "attempt_count": 1,
    "client_ref": "ticket-4821",
    "request_id": "0197f3a0-4b1b-7001-8a55-000000000003",
    "created_by": "0197f39f-0000-7000-8000-000000000004",
    "created_at": "2026-01-31T10:00:00.120000+00:00",
    "started_at": "2026-01-31T10:00:00.380000+00:00",
    "completed_at": "2026-01-31T10:00:10.330000+00:00",
    "finished_at": "2026-01-31T10:00:10.330000+00:00",
    "callback_url": "https://your-server.example/webhook",
    "has_logs": True,
    "has_node_runs": True,
    "links": {"self": _ADDRESS, "logs": f"{_ADDRESS}/logs", "cancellation": f"{_ADDRESS}/cancellation"},
}
"""What holds something of a run that succeeded; all else is null."""


MAX_CALLBACK_URL = 2048
MAX_CLIENT_REF = 255
MAX_METADATA_BYTES = 64 * 1024
"""Of JSON, files inside not counted: the metadata stands in every message about the run."""
MAX_INPUT_BYTES = 2 * 1024 * 1024
"""Of JSON, files inside not counted: a page of runs holds up to 500 inputs."""
MAX_DEPTH = 32
"""Deepest nesting of `input` and `metadata`: they are walked at every read."""
MIN_REASON, MAX_REASON = 3, 500
MOST_PRIORITY = 10
"""Priorities go from minus this to this: a step counts as a minute of age (docs/leases.md, "Choosing")."""


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL characters")
    return text


def _http_url(url: str) -> str:
    try:
        check_url(_storable(url))
    except InvalidUrl as error:
        raise ValueError(f"cannot be called: {error}") from None
    return url


def _levels(value: dict[str, Any]) -> Iterator[list[Any]]:
    """Yield the values of each level of a document, outermost first, without recursion."""
    level: list[Any] = [value]
    while level:
        yield level
        level = [item for outer in level for item in _items(outer)]


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _shallow(value: dict[str, Any]) -> dict[str, Any]:
    for depth, level in enumerate(_levels(value)):
        if depth >= MAX_DEPTH and any(isinstance(item, dict | list) for item in level):
            raise ValueError(f"may be nested at most {MAX_DEPTH} deep")
    return value


def _storable_document(value: dict[str, Any]) -> dict[str, Any]:
    for level in _levels(value):
        for item in level:
            for text in item if isinstance(item, dict) else (item,):
                if isinstance(text, str):
                    _storable(text)
    return value


InputValues = Annotated[
    dict[str, Any],
    AfterValidator(_shallow),
    Field(
        description="Values by input name. Image and file inputs take `runflow://assets/{uuid}`, an `https://` URL, a "
        "`url` that this server gave out, or a `data:` URI up to 1 MiB."
    ),
]
CallbackUrl = Annotated[str, Field(max_length=MAX_CALLBACK_URL), AfterValidator(_http_url)]
ClientRef = Annotated[str, Field(max_length=MAX_CLIENT_REF), AfterValidator(_storable)]
Metadata = Annotated[dict[str, Any], AfterValidator(_shallow), AfterValidator(_storable_document)]
Reason = Annotated[str, Field(min_length=MIN_REASON, max_length=MAX_REASON), AfterValidator(_storable)]


Priority = Annotated[
    Annotated[StrictInt, Field(ge=-MOST_PRIORITY, le=MOST_PRIORITY)] | None,
    Field(
        description="-10 to 10: its place among your organization's runs, a step counting as a minute of waiting. Any "
        "but 0 needs the scope `runs:prioritize`.",
    ),
]
Version = Annotated[
    VersionNumber | None,
    Field(description="The number of the version to run, as text or integer. Absent: the current one."),
]


class DispatchRequest(BaseModel):
    """A run to dispatch."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "input": {"prompt": "a sea otter holding a smooth pebble", "width": 1024},
                    "callback_url": "https://your-server.example/webhook",
                    "client_ref": "ticket-4821",
                }
            ]
        },
    )

    input: InputValues
    callback_url: Annotated[CallbackUrl | None, Field(description="Receives one POST when the run has ended.")] = None
    client_ref: Annotated[
        ClientRef | None, Field(description="Your own reference, echoed in callbacks. It does not deduplicate.")
    ] = None
    metadata: Annotated[
        Metadata | None,
        Field(description="Any keys and values, up to 64 KiB of JSON, stored on the run and echoed in callbacks."),
    ] = None
    version: Version = None
    priority: Priority = None


class Cancellation(BaseModel):
    """Why a run or batch is cancelled."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "The customer withdrew the order."}]}
    )

    reason: Annotated[Reason | None, Field(description="Shown on the record as `cancellation_reason`.")] = None


class RerunVersion(StrEnum):
    """Which version of the workflow a rerun takes."""

    CURRENT = "current"
    PINNED = "pinned"


def _rerun_version(value: Any) -> RerunVersion | int:
    return RerunVersion(value) if value in [*RerunVersion] else version_number(value)


class RerunRequest(BaseModel):
    """How a run is repeated. What is not sent is taken over from the run."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": "pinned"}]})

    version: Annotated[
        RerunVersion | int,
        PlainValidator(_rerun_version),
        WithJsonSchema({"anyOf": [{"type": "string", "enum": [*RerunVersion]}, *NUMBER_SCHEMA]}),
        Field(
            description="`current`: the workflow's current version; `pinned`: the one that the run was made on; or the "
            "number of a version."
        ),
    ] = RerunVersion.CURRENT
    callback_url: Annotated[CallbackUrl | None, Field(description="Null: no callback.")] = None
    client_ref: ClientRef | None = None
    metadata: Metadata | None = None
    priority: Annotated[Priority, Field(description="As of a dispatch; not taken over from the run.")] = None


class RunOutputFile(BaseModel):
    """One file that a run delivered."""

    output_id: str = Field(description="The `output_id` of the Runflow Output node.")
    url: str = Field(description="Signed and time-limited: download or rehost at once, or read the run again.")
    content_type: str
    size_bytes: int
    filename: str
    sha256: str | None
    width: int | None
    height: int | None
    node_id: str


class DeliveredFiles(BaseModel):
    """What a succeeded run delivered, as messages and batches tell it."""

    kind: str = Field(examples=["comfyui_outputs"])
    outputs: list[RunOutputFile]


class RunOutput(DeliveredFiles):
    """What a succeeded run delivered."""

    image_urls: list[str] = Field(description="The `url` of each output that is an image, in the order of `outputs`.")


class RunError(BaseModel):
    """Why a run failed."""

    code: str
    message: str
    node_id: str | None
    node_type: str | None
    input: str | None = Field(description="The input that the failing node's value came from, where there is one.")
    details: dict[str, Any] | None


class EvaluationSummary(BaseModel):
    """What the evaluations of a run's outputs came to."""

    passed: bool | None = Field(description="Whether all of them passed; null until all have ended.")
    status_code: str = Field(description="`pending`, `running`, `completed`, or `failed` if one came to no verdict.")
    score: float | None = Field(description="Mean of their scores, 0 to 1.")


class Wait(BaseModel):
    """What a run waited for until it began to execute, in milliseconds: the parts add up to all of its wait."""

    queue_ms: int = Field(description="For its turn, for earlier attempts, and for whatever is none of the others.")
    machine_ms: int = Field(description="Until the worker that took it was there.")
    runtime_ms: int = Field(description="Until the runtime of its version was built or fetched.")
    model_ms: int = Field(description="Until its models were fetched and placed.")
    engine_ms: int = Field(description="Until an engine that takes it had started, before a worker took it or after.")


class CostBreakdown(BaseModel):
    """How a run's cost came about: sums over its attempts, as decimal strings; class and price of the last one."""

    gpu_code: str = Field(examples=["L40S"])
    price_per_second: str = Field(examples=["0.000444"])
    prepare_seconds: str = Field(examples=["0.412"])
    load_seconds: str = Field(examples=["0.000"])
    execute_seconds: str = Field(examples=["9.870"])
    billable_seconds: str = Field(examples=["9.870"])
    attempts: int


class Run(BaseModel):
    """One dispatched execution of a workflow."""

    model_config = ConfigDict(json_schema_extra={"examples": [RUN_EXAMPLE]})

    id: UUID
    org_id: UUID
    flow_id: UUID | None
    model_id: UUID | None
    model: str | None = Field(
        description="The workflow as `owner/slug`; null where another organization does not share it any more."
    )
    comfyui_workflow_id: UUID | None
    target_type: str
    target_version: str | None
    status_code: str = Field(description="`queued`, `dispatching`, `running`, `succeeded`, `failed` or `cancelled`.")
    status: str = Field(description="The same as `status_code`.")
    is_terminal: bool
    waiting_reason: str | None = Field(description="Why the run is still queued, and what to do.")
    queue_position: int | None = Field(
        description="While queued, 1 for the next run of its lane. Null in lists and in the answer to a dispatch."
    )
    estimated_wait_seconds: float | None = Field(
        description="How long it will probably wait, by the pace so far. Null where no machine would take it."
    )
    source_code: str
    priority: int = Field(description="-10 to 10, the higher the sooner among your organization's runs.")
    input: dict[str, Any]
    output: RunOutput | None
    output_expired: bool
    context: dict[str, Any] | None
    duration_ms: int | None
    wait: Wait | None = Field(description="What it waited for, of its last attempt; null until that has ended.")
    cost: str | None
    cost_breakdown: CostBreakdown | None
    nodes_total: int | None
    nodes_completed: int | None
    attempt_count: int = Field(description="Number of the latest attempt. What a worker gave back untouched has one.")
    resolved_template_id: UUID | None
    batch_id: UUID | None
    rerun_of: UUID | None = Field(description="The run that this one repeats.")
    client_ref: str | None
    jurisdiction_code: str | None
    flow_version_id: UUID | None
    request_id: str | None
    created_by: UUID | None
    created_at: Timestamp
    started_at: Timestamp | None
    completed_at: Timestamp | None
    finished_at: Timestamp | None = Field(description="The same as `completed_at`.")
    callback_url: str | None
    metadata: dict[str, Any] | None
    has_logs: bool
    has_node_runs: bool
    links: dict[str, str] = Field(description="Addresses of what belongs to the run.")
    cancellation_reason: str | None = Field(description="What the one who cancelled said.")
    failure_code: str | None
    failure_stage_code: str | None
    failure_message: str | None = Field(description="What failed, where, and what to do next.")
    failure_reason: str | None = Field(description="The same as `failure_message`.")
    error: RunError | None
    feedback_is_positive: bool | None = Field(description="The last feedback on its evaluations.")
    feedback_reason: str | None
    source_chat_message_id: UUID | None
    current_evaluation_summary: EvaluationSummary | None
