"""What the list of models can be filtered and sorted by."""

from runflow.models.schemas import ModelRecord
from runflow.models.tables import models
from runflow.web.lists import FieldKind, ListField, ListSpec

MODEL_LIST = ListSpec(
    from_=models,
    fields=(
        ListField("id", models.c.id, FieldKind.UUID),
        ListField("sha256", models.c.sha256, FieldKind.STRING),
        ListField("size_bytes", models.c.size_bytes, FieldKind.INT),
        ListField("filename", models.c.filename, FieldKind.STRING),
        ListField("created_by", models.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", models.c.created_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(ModelRecord.model_fields),
    embeds=frozenset(),
)
