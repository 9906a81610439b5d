"""What the lists of batches and of their items can be filtered and sorted by."""

from runflow.batches.queries import STATUS
from runflow.batches.schemas import BatchItem, ListedBatch
from runflow.batches.tables import batches
from runflow.runs.listing import STATUSES
from runflow.runs.tables import runs
from runflow.web.lists import FieldKind, ListField, ListSpec

BATCH_STATUSES = ("queued", "running", "succeeded", "partial_succeeded", "failed", "cancelled")

BATCH_LIST = ListSpec(
    from_=batches,
    fields=(
        ListField("id", batches.c.id, FieldKind.UUID),
        ListField("status_code", STATUS, FieldKind.ENUM, choices=BATCH_STATUSES),
        ListField("target_id", batches.c.comfyui_workflow_id, FieldKind.UUID),
        ListField("comfyui_workflow_id", batches.c.comfyui_workflow_id, FieldKind.UUID),
        ListField("target_version", batches.c.target_version, FieldKind.STRING),
        *(
            ListField(name, batches.c[name], FieldKind.INT)
            for name in ("items_total", "items_succeeded", "items_failed", "items_cancelled")
        ),
        ListField("duration_ms", batches.c.duration_ms, FieldKind.INT, nullable=True),
        ListField("request_id", batches.c.request_id, FieldKind.STRING, nullable=True),
        ListField("created_by", batches.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", batches.c.created_at, FieldKind.TIMESTAMP),
        ListField("completed_at", batches.c.completed_at, FieldKind.TIMESTAMP, nullable=True),
    ),
    response_fields=frozenset(ListedBatch.model_fields),
)

ITEM_LIST = ListSpec(
    from_=runs,
    fields=(
        ListField("id", runs.c.id, FieldKind.UUID),
        ListField("run_id", runs.c.id, FieldKind.UUID),
        ListField("sequence_index", runs.c.batch_index, FieldKind.INT),
        ListField("status_code", runs.c.status_code, FieldKind.ENUM, choices=STATUSES),
        ListField("client_ref", runs.c.client_ref, FieldKind.STRING, nullable=True),
        ListField("failure_code", runs.c.failure_code, FieldKind.STRING, nullable=True),
        ListField("cost", runs.c.cost, FieldKind.DECIMAL, nullable=True),
        ListField("duration_ms", runs.c.duration_ms, FieldKind.INT, nullable=True),
        ListField("created_at", runs.c.created_at, FieldKind.TIMESTAMP),
        ListField("started_at", runs.c.started_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("completed_at", runs.c.completed_at, FieldKind.TIMESTAMP, nullable=True),
    ),
    response_fields=frozenset(BatchItem.model_fields) - {"run"},
    embeds=frozenset({"run"}),
    default_sort="sequence_index:asc",
)
