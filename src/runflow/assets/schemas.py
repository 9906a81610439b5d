"""Bodies and records of assets (docs/api/assets.md), and how a row becomes a record."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from runflow.assets.media_types import MIME_TYPE, AssetType
from runflow.assets.tables import AssetRow
from runflow.web.responses import Timestamp
from runflow.web.services import Services


def _plain_name(name: str) -> str:
    if any(not char.isprintable() for char in name):
        raise ValueError("a file name has no control characters")
    base = name.replace("\\", "/").rpartition("/")[2].strip()
    if base in ("", ".", ".."):
        raise ValueError("this names a folder; send the name of the file")
    return base


Filename = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_plain_name)]
"""A file's own name; of a path only the last part is kept."""


class UploadCreate(BaseModel):
    """What a client declares before it sends a file."""

    filename: Filename
    mime_type: str = Field(min_length=1, max_length=255, pattern=MIME_TYPE, examples=["image/png"])
    size_bytes: int = Field(ge=1, description="Exact size; the largest is RUNFLOW_MAX_UPLOAD_BYTES (default 50 MiB).")


class UploadSession(BaseModel):
    """Where to send the file: PUT it with the declared `Content-Type`, then confirm."""

    asset_id: UUID = Field(description="Id of the session, and of the asset that it becomes.")
    upload_url: str = Field(description="PUT the bytes here, without a key; may be repeated until `expires_at`.")
    expires_at: Timestamp


MAX_LOOKUPS = 1000
"""Most contents of one lookup."""


class AssetContent(BaseModel):
    """What identifies a file: its content."""

    sha256: str = Field(
        pattern="^[0-9a-f]{64}$", examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
    )
    size_bytes: int = Field(ge=1)


class AssetLookups(BaseModel):
    """Files that a client has."""

    items: list[AssetContent] = Field(max_length=MAX_LOOKUPS)


class LookedUpAsset(AssetContent):
    """What the server knows of one content."""

    asset_id: UUID | None = Field(description="The asset, or null where the organization has not uploaded it.")
    url: str | None = Field(description="A signed URL of the asset.")


class AssetLookupAnswer(BaseModel):
    """What of a list the organization has, in the order of the request."""

    items: list[LookedUpAsset]


class Confirmation(BaseModel):
    """The optional body of a confirmation."""

    model_config = ConfigDict(extra="ignore")

    folder_id: UUID | None = Field(None, description="The folder to put the asset into; null is the top.")


class PatchAsset(BaseModel):
    """Changes to an asset; what is not sent stays. Its bytes and its type never change."""

    model_config = ConfigDict(extra="forbid")

    name: Filename | None = Field(None, description="A new name for people; it names downloads, too.")
    folder_id: UUID | None = Field(None, description="The folder to move it to; null moves it to the top.")


class AssetCreator(BaseModel):
    """Who uploaded an asset, with `embed=created_by_user`."""

    id: UUID
    email: str | None
    first_name: str | None
    last_name: str | None
    avatar_url: str | None


class AssetRecord(BaseModel):
    """An asset. Its stable reference in inputs is `runflow://assets/{id}`; `url` is signed anew at each read."""

    id: UUID
    org_id: UUID
    folder_id: UUID | None = Field(description="The folder that it is in; null is the top.")
    name: str
    r2_key: str = Field(description="Its key in storage, for the operator.")
    url: str = Field(description="Signed URL of the file, valid for RUNFLOW_OUTPUT_URL_SECONDS (24 hours).")
    thumbnail_url: str | None = Field(
        description="Signed URL of a WebP of at most 512 pixels a side; null for what is no image, or too large a one, "
        "and of some files until their record is read."
    )
    mime_type: str
    size_bytes: int
    asset_type: AssetType
    source_type: str = Field(
        description="`upload`, or `data_uri` for a file that came inside a request, also as a URL of this server."
    )
    source_id: UUID | None
    created_by: UUID | None
    created_at: Timestamp
    updated_at: Timestamp
    deleted_at: Timestamp | None
    deleted_by: UUID | None
    created_by_user: AssetCreator | None = Field(description="Null unless `embed=created_by_user` asks for it.")


class AssetTypeRecord(BaseModel):
    """One file type."""

    mime_type: str = Field(examples=["image/png"])
    asset_type: AssetType
    extensions: list[str] = Field(examples=[[".png"]])


class AssetTypes(BaseModel):
    """The named file types and the largest upload."""

    items: list[AssetTypeRecord]
    max_upload_bytes: int


EMBEDS = frozenset({"created_by_user"})


def record(asset: AssetRow, services: Services, base: str) -> dict[str, Any]:
    """Return the record with freshly signed URLs below the address `base`."""
    seconds = services.settings.output_url_seconds
    url = services.storage.download_url(
        base, asset.object_key, filename=asset.name, content_type=asset.mime_type, seconds=seconds
    )
    thumbnail_url = None
    if asset.thumbnail_key:
        thumbnail_url = services.storage.download_url(
            base, asset.thumbnail_key, filename="thumbnail.webp", content_type="image/webp", seconds=seconds
        )
    return {
        "id": asset.id,
        "org_id": asset.org_id,
        "folder_id": asset.folder_id,
        "name": asset.name,
        "r2_key": asset.object_key,
        "url": url,
        "thumbnail_url": thumbnail_url,
        "mime_type": asset.mime_type,
        "size_bytes": asset.size_bytes,
        "asset_type": asset.asset_type,
        "source_type": asset.source_type,
        "source_id": asset.source_id,
        "created_by": asset.created_by,
        "created_at": asset.created_at,
        "updated_at": asset.updated_at,
        "deleted_at": asset.deleted_at,
        "deleted_by": asset.deleted_by,
        "created_by_user": None,
    }
