"""What run lists can be filtered and sorted by."""

from runflow.runs.queries import WORKFLOW_SLUG
from runflow.runs.record import EMBEDS
from runflow.runs.schemas import Run
from runflow.runs.tables import runs
from runflow.web.lists import FieldKind, ListField, ListSpec

OF_WORKFLOW = "workflow_slug"
"""The one field that needs a join; a list whose filter does not name it goes without."""
STATUSES = ("queued", "dispatching", "running", "succeeded", "failed", "cancelled")
SOURCES = ("api", "playground", "batch", "rerun", "mcp")

RUN_LIST = ListSpec(
    from_=runs,
    fields=(
        ListField("id", runs.c.id, FieldKind.UUID),
        ListField("status_code", runs.c.status_code, FieldKind.ENUM, choices=STATUSES),
        ListField("source_code", runs.c.source_code, FieldKind.ENUM, choices=SOURCES),
        ListField("target_version", runs.c.target_version, FieldKind.STRING),
        ListField("comfyui_workflow_id", runs.c.comfyui_workflow_id, FieldKind.UUID),
        ListField(OF_WORKFLOW, WORKFLOW_SLUG, FieldKind.STRING, sortable=False, nullable=True),
        ListField("target_type", runs.c.target_type, FieldKind.STRING, sortable=False),
        ListField("batch_id", runs.c.batch_id, FieldKind.UUID, nullable=True),
        ListField("batch_index", runs.c.batch_index, FieldKind.INT, nullable=True),
        ListField("rerun_of", runs.c.rerun_of, FieldKind.UUID, nullable=True),
        ListField("client_ref", runs.c.client_ref, FieldKind.STRING, nullable=True),
        ListField("request_id", runs.c.request_id, FieldKind.STRING, nullable=True),
        ListField("created_by", runs.c.created_by, FieldKind.UUID, nullable=True),
        ListField("attempt_count", runs.c.attempt_count, FieldKind.INT),
        ListField("duration_ms", runs.c.duration_ms, FieldKind.INT, nullable=True),
        ListField("cost", runs.c.cost, FieldKind.DECIMAL, nullable=True),
        ListField("failure_code", runs.c.failure_code, FieldKind.STRING, nullable=True),
        ListField("failure_stage_code", runs.c.failure_stage_code, FieldKind.STRING, nullable=True),
        ListField("failure_message", runs.c.failure_message, FieldKind.STRING, sortable=False, nullable=True),
        ListField("cold_start", runs.c.cold_start, FieldKind.BOOL),
        ListField("has_logs", runs.c.has_logs, FieldKind.BOOL),
        ListField("output_expired", runs.c.output_expired, FieldKind.BOOL),
        ListField("created_at", runs.c.created_at, FieldKind.TIMESTAMP),
        ListField("started_at", runs.c.started_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("completed_at", runs.c.completed_at, FieldKind.TIMESTAMP, nullable=True),
    ),
    response_fields=frozenset(Run.model_fields),
    embeds=EMBEDS,
)
