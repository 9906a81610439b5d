"""Shapes of batches on the wire (docs/api/batches.md)."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from runflow.runs.schemas import (
    CallbackUrl,
    ClientRef,
    DeliveredFiles,
    InputValues,
    Metadata,
    Priority,
    Run,
    RunError,
    RunOutput,
    Version,
)
from runflow.web.responses import Timestamp

MAX_ITEMS = 100

_ITEMS = Field(min_length=1, max_length=MAX_ITEMS)


class NewItem(BaseModel):
    """One run of a new batch."""

    model_config = ConfigDict(extra="forbid")

    input: InputValues
    client_ref: Annotated[ClientRef | None, Field(description="Your own reference for this item.")] = None


class CreateBatch(BaseModel):
    """Runs of one workflow to dispatch together. Send either `input` or `items`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"input": [{"prompt": "an otter"}, {"prompt": "a pebble", "client_ref": "picture-2"}]},
                {"items": [{"input": {"prompt": "an otter"}, "client_ref": "picture-1"}]},
            ],
        },
    )

    input: Annotated[
        Annotated[list[InputValues], _ITEMS] | None,
        Field(
            description="1 to 100 inputs; in each, `client_ref` is your own reference (unless the workflow has an "
            "input of that name)."
        ),
    ] = None
    items: Annotated[
        Annotated[list[NewItem], _ITEMS] | None,
        Field(description="The same, as objects with `input` and `client_ref`."),
    ] = None
    callback_url: Annotated[
        CallbackUrl | None, Field(description="Receives one POST when every item has ended. Items have none.")
    ] = None
    metadata: Annotated[
        Metadata | None, Field(description="Any keys and values, stored on the batch and echoed in its callback.")
    ] = None
    version: Version = None
    priority: Annotated[Priority, Field(description="Of every item, as of a dispatch.")] = None

    @model_validator(mode="after")
    def _either(self) -> "CreateBatch":
        if (self.input is None) == (self.items is None):
            raise ValueError("send either `input` (a list of inputs) or `items` (a list of {input, client_ref})")
        return self


class LeanItem(BaseModel):
    """An item of a batch in short."""

    id: UUID = Field(description="The id of the item's run.")
    sequence_index: int = Field(description="Its place in the request, from 0.")
    run_id: UUID
    status_code: str
    client_ref: str | None


class OutputItem(BaseModel):
    """What became of an item."""

    id: UUID
    run_id: UUID
    sequence_index: int
    client_ref: str | None
    status: str
    output: DeliveredFiles | None
    error: RunError | None


class BatchOutput(BaseModel):
    """What a batch came to."""

    items: list[OutputItem]
    succeeded: int
    failed: int
    cancelled: int
    total: int


class ListedBatch(BaseModel):
    """A batch as a list shows it."""

    id: UUID
    org_id: UUID
    target_type: str
    target_type_code: str
    target_id: UUID = Field(description="The workflow.")
    comfyui_workflow_id: UUID
    target_version: str
    status_code: str = Field(
        description="`queued`, `running`, then `succeeded` (all items), `partial_succeeded` (some), `failed` (none, "
        "and not all cancelled) or `cancelled` (all)."
    )
    status: str = Field(description="The same as `status_code`.")
    is_terminal: bool
    source_code: str
    items_total: int
    items_succeeded: int
    items_failed: int
    items_cancelled: int
    cost: str | None = Field(description="What the items cost so far.")
    duration_ms: int | None
    metadata: dict[str, Any] | None
    callback_url: str | None
    cancellation_reason: str | None
    failure_code: str | None = Field(description="Of the first item that failed, where the batch failed.")
    failure_stage_code: str | None
    failure_message: str | None
    resolved_template_id: UUID | None
    dispatch_provider_link_id: UUID | None
    request_id: str | None
    created_by: UUID | None
    created_at: Timestamp
    started_at: Timestamp | None
    completed_at: Timestamp | None
    links: dict[str, str]
    items: list[LeanItem] | None = Field(default=None, description="In lists only where `fields` names it.")
    input: list[dict[str, Any]] | None = Field(default=None, description="In lists only where `fields` names it.")


class Batch(ListedBatch):
    """Runs that were dispatched together."""

    items: list[LeanItem]
    input: list[dict[str, Any]]
    output: BatchOutput | None = Field(description="Once every item has ended.")


class BatchItem(BaseModel):
    """One item of a batch: its run, as it is now."""

    id: UUID = Field(description="The id of the item's run.")
    batch_id: UUID
    sequence_index: int
    run_id: UUID
    client_ref: str | None
    status_code: str
    input: dict[str, Any]
    output: RunOutput | None
    error: RunError | None
    cost: str | None
    duration_ms: int | None
    created_at: Timestamp
    started_at: Timestamp | None
    completed_at: Timestamp | None
    run: Run | None = Field(default=None, description="With `embed=run`.")
