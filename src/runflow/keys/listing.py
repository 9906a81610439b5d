"""What the list of API keys can be filtered and sorted by."""

from runflow.keys.schemas import ApiKey
from runflow.keys.tables import api_keys
from runflow.web.lists import FieldKind, ListField, ListSpec

KEY_LIST = ListSpec(
    from_=api_keys,
    fields=(
        ListField("id", api_keys.c.id, FieldKind.UUID),
        ListField("name", api_keys.c.name, FieldKind.STRING),
        ListField("key_prefix", api_keys.c.key_prefix, FieldKind.STRING),
        ListField("expires_at", api_keys.c.expires_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("last_used_at", api_keys.c.last_used_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("revoked_at", api_keys.c.revoked_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("user_id", api_keys.c.user_id, FieldKind.UUID, nullable=True),
        ListField("created_by", api_keys.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", api_keys.c.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", api_keys.c.updated_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(ApiKey.model_fields),
)
