"""An asset's record as the API shows it (docs/api/assets.md, "The record")."""

from typing import Any

from sqlalchemy import RowMapping

from runflow.services import Services

EMBEDS = frozenset({"created_by_user"})


def record(asset: RowMapping, services: Services, base: str) -> dict[str, Any]:
    """Return the record with freshly signed URLs below the address `base`."""
    seconds = services.settings.output_url_seconds
    url = services.storage.download_url(
        base, asset["object_key"], filename=asset["name"], content_type=asset["mime_type"], seconds=seconds
    )
    thumbnail_url = None
    if asset["thumbnail_key"]:
        thumbnail_url = services.storage.download_url(
            base, asset["thumbnail_key"], filename="thumbnail.webp", content_type="image/webp", seconds=seconds
        )
    return {
        "id": asset["id"],
        "org_id": asset["org_id"],
        "folder_id": asset["folder_id"],
        "name": asset["name"],
        "r2_key": asset["object_key"],
        "url": url,
        "thumbnail_url": thumbnail_url,
        "mime_type": asset["mime_type"],
        "size_bytes": asset["size_bytes"],
        "asset_type": asset["asset_type"],
        "source_type": asset["source_type"],
        "source_id": asset["source_id"],
        "created_by": asset["created_by"],
        "created_at": asset["created_at"],
        "updated_at": asset["updated_at"],
        "deleted_at": asset["deleted_at"],
        "deleted_by": asset["deleted_by"],
        "created_by_user": None,
    }
