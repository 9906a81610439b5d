"""Bodies and records of assets (wire.md, section 10)."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from runflow.assets.kinds import MIME_TYPE
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

    asset_id: UUID
    upload_url: str
    expires_at: Timestamp


class Confirmation(BaseModel):
    """The optional body of a confirmation."""

    model_config = ConfigDict(extra="ignore")

    folder_id: UUID | None = None


class AssetRecord(BaseModel):
    """An asset. Its stable reference in inputs is `runflow://assets/{id}`; `url` is signed anew at each read."""

    id: UUID
    org_id: UUID
    folder_id: UUID | None
    name: str
    r2_key: str
    url: str
    thumbnail_url: str | None
    mime_type: str
    size_bytes: int
    asset_type: str
    source_type: str
    source_id: UUID | None
    created_by: UUID | None
    created_at: Timestamp
    updated_at: Timestamp
    deleted_at: Timestamp | None
    deleted_by: UUID | None
    created_by_user: dict[str, Any] | None
