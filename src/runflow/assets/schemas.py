"""Bodies and records of assets (docs/api/assets.md)."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from runflow.assets.kinds import MIME_TYPE, AssetType
from runflow.web.responses import Timestamp


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
