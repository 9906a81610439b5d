"""What the list of callback secrets can be filtered and sorted by."""

from runflow.callbacks.schemas import CallbackSecret
from runflow.callbacks.tables import callback_secrets as secrets
from runflow.web.lists import FieldKind, ListField, ListSpec

SECRET_LIST = ListSpec(
    from_=secrets,
    fields=(
        ListField("id", secrets.c.id, FieldKind.UUID),
        ListField("key_prefix", secrets.c.key_prefix, FieldKind.STRING),
        ListField("label", secrets.c.label, FieldKind.STRING, nullable=True),
        ListField("is_current", secrets.c.is_current, FieldKind.BOOL),
        ListField("disabled_at", secrets.c.disabled_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("last_used_at", secrets.c.last_used_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("created_by", secrets.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", secrets.c.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", secrets.c.updated_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(CallbackSecret.model_fields),
)
