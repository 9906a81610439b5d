"""What the list of assets can be filtered and sorted by."""

from runflow.assets.kinds import AssetType
from runflow.assets.record import EMBEDS
from runflow.assets.schemas import AssetRecord
from runflow.assets.tables import assets
from runflow.web.lists import FieldKind, ListField, ListSpec

SOURCES = ("upload", "data_uri")

ASSET_LIST = ListSpec(
    from_=assets,
    fields=(
        ListField("id", assets.c.id, FieldKind.UUID),
        ListField("folder_id", assets.c.folder_id, FieldKind.UUID, nullable=True),
        ListField("name", assets.c.name, FieldKind.STRING),
        ListField("mime_type", assets.c.mime_type, FieldKind.STRING),
        ListField("size_bytes", assets.c.size_bytes, FieldKind.INT),
        ListField("asset_type", assets.c.asset_type, FieldKind.ENUM, choices=tuple(AssetType)),
        ListField("source_type", assets.c.source_type, FieldKind.ENUM, choices=SOURCES),
        ListField("created_by", assets.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", assets.c.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", assets.c.updated_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(AssetRecord.model_fields),
    embeds=EMBEDS,
)
