"""What the list of workers can be filtered and sorted by."""

from runflow.web.lists import FieldKind, ListField, ListSpec
from runflow.workers.queries import online
from runflow.workers.roster_schemas import Worker
from runflow.workers.tables import workers

STATUSES = ("ready", "no_engine", "engine_down")

WORKER_LIST = ListSpec(
    from_=workers,
    fields=(
        ListField("id", workers.c.id, FieldKind.UUID),
        ListField("name", workers.c.name, FieldKind.STRING),
        ListField("gpu_code", workers.c.gpu_code, FieldKind.STRING),
        ListField("memory_gb", workers.c.memory_gb, FieldKind.INT),
        ListField("status_code", workers.c.status_code, FieldKind.ENUM, choices=STATUSES),
        ListField("online", online(), FieldKind.BOOL, sortable=False),
        ListField("draining", workers.c.draining, FieldKind.BOOL),
        ListField("last_seen_at", workers.c.last_seen_at, FieldKind.TIMESTAMP),
        ListField("created_at", workers.c.created_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(Worker.model_fields),
)
