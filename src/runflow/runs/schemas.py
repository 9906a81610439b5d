"""Shapes of runs on the wire."""

from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from runflow.web.responses import Timestamp

MAX_CALLBACK_URL = 2048
MAX_CLIENT_REF = 255


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL characters")
    return text


def _http_url(url: str) -> str:
    try:
        parts = urlsplit(_storable(url))
        host = parts.hostname
    except ValueError as error:
        raise ValueError(f"is no valid URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("must be an absolute http:// or https:// URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not carry a user name or a password")
    return url


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

    input: Annotated[
        dict[str, Any],
        Field(
            description="Values by input name. Image and file inputs take `runflow://assets/{uuid}`, an `https://` "
            "URL, or a `data:` URI up to 1 MiB."
        ),
    ]
    callback_url: Annotated[
        Annotated[str, Field(max_length=MAX_CALLBACK_URL), AfterValidator(_http_url)] | None,
        Field(description="Receives one POST when the run has ended."),
    ] = None
    client_ref: Annotated[
        Annotated[str, Field(max_length=MAX_CLIENT_REF), AfterValidator(_storable)] | None,
        Field(description="Your own reference, echoed in callbacks. It does not deduplicate."),
    ] = None
    metadata: Annotated[
        dict[str, Any] | None, Field(description="Any keys and values, stored on the run and echoed in callbacks.")
    ] = None


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


class RunOutput(BaseModel):
    """What a succeeded run delivered."""

    kind: str = "comfyui_outputs"
    outputs: list[RunOutputFile]


class RunError(BaseModel):
    """Why a run failed."""

    code: str
    message: str
    node_id: str | None
    node_type: str | None
    details: dict[str, Any] | None


class Run(BaseModel):
    """One dispatched execution of a workflow."""

    id: UUID
    org_id: UUID
    flow_id: UUID | None = None
    model_id: UUID | None = None
    comfyui_workflow_id: UUID | None
    target_type: str
    target_version: str | None
    status_code: str = Field(description="`queued`, `dispatching`, `running`, `succeeded`, `failed` or `cancelled`.")
    status: str = Field(description="The same as `status_code`.")
    is_terminal: bool
    waiting_reason: str | None = Field(description="Why the run is still queued, and what to do.")
    source_code: str
    input: dict[str, Any]
    output: RunOutput | None
    output_expired: bool
    context: dict[str, Any] | None = None
    duration_ms: int | None
    cost: str | None
    cost_breakdown: dict[str, Any] | None
    nodes_total: int | None
    nodes_completed: int | None
    attempt_count: int
    resolved_template_id: UUID | None = None
    batch_id: UUID | None
    client_ref: str | None
    jurisdiction_code: str | None = None
    flow_version_id: UUID | None = None
    request_id: str | None
    created_by: UUID | None
    created_at: Timestamp
    started_at: Timestamp | None
    completed_at: Timestamp | None
    callback_url: str | None
    metadata: dict[str, Any] | None
    has_logs: bool
    has_node_runs: bool
    links: dict[str, str]
    failure_code: str | None
    failure_stage_code: str | None
    failure_message: str | None = Field(description="What failed, where, and what to do next.")
    failure_reason: str | None = Field(description="The same as `failure_message`.")
    error: RunError | None
    feedback_is_positive: bool | None = None
    feedback_reason: str | None = None
    source_chat_message_id: UUID | None = None
    current_evaluation_summary: dict[str, Any] | None = None
