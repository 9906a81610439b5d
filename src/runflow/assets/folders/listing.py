"""What the list of folders can be filtered and sorted by."""

from runflow.assets.folders.schemas import Folder
from runflow.assets.tables import asset_folders
from runflow.web.lists import FieldKind, ListField, ListSpec

FOLDER_LIST = ListSpec(
    from_=asset_folders,
    fields=(
        ListField("id", asset_folders.c.id, FieldKind.UUID),
        ListField("parent_id", asset_folders.c.parent_id, FieldKind.UUID, nullable=True),
        ListField("name", asset_folders.c.name, FieldKind.STRING),
        ListField("created_by", asset_folders.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", asset_folders.c.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", asset_folders.c.updated_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(Folder.model_fields),
)
