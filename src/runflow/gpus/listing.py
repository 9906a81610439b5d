"""What the GPU catalogue can be filtered and sorted by."""

from runflow.gpus.queries import WORKERS_ONLINE
from runflow.gpus.schemas import Gpu
from runflow.web.lists import FieldKind, ListField, ListSpec
from runflow.workers.tables import gpus

GPU_LIST = ListSpec(
    from_=gpus,
    fields=(
        ListField("code", gpus.c.code, FieldKind.STRING),
        ListField("name", gpus.c.name, FieldKind.STRING),
        ListField("memory_gb", gpus.c.memory_gb, FieldKind.INT),
        ListField("price_per_second", gpus.c.price_per_second, FieldKind.DECIMAL),
        ListField("workers_online", WORKERS_ONLINE, FieldKind.INT),
        ListField("sort_order", gpus.c.sort_order, FieldKind.INT),
    ),
    response_fields=frozenset(Gpu.model_fields),
    id_field="code",
    default_sort="sort_order:asc",
)
