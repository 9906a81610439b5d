"""Bodies and records of uploaded models (docs/api/models.md), and how a row becomes a record."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field

from runflow.assets.schemas import Filename
from runflow.models.parts import CHUNK_BYTES, STALE_SECONDS
from runflow.models.tables import ModelRow, ModelUploadRow
from runflow.web.responses import Timestamp

_EXAMPLE = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
LARGEST = 2**53 - 1
"""Sizes beyond it are not whole numbers in every JSON reader."""
MAX_LOOKUPS = 1000
MOST_NAMED = 100
"""So many of a model's users are named."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$", examples=[_EXAMPLE], description="SHA-256, lower-case hex.")]
Size = Annotated[int, Field(ge=1, le=LARGEST, description="Exact size in bytes.", examples=[2_132_626_066])]


class Content(BaseModel):
    """What identifies a model: its content."""

    sha256: Sha256
    size_bytes: Size


class ModelLookups(BaseModel):
    """Models that a client has."""

    items: list[Content] = Field(max_length=MAX_LOOKUPS)


class LookedUp(Content):
    """What the server knows of one content."""

    model_id: UUID | None = Field(description="The model, or null where the organization has not uploaded it.")
    received_bytes: int = Field(description="How much of it an open session holds already; all of a model.")


class ModelLookupAnswer(BaseModel):
    """What of a list the server has, in the order of the request."""

    accepts_uploads: bool = Field(description="Whether this server takes models (RUNFLOW_ACCEPT_MODELS).")
    max_bytes: int = Field(description="The largest model that it takes (RUNFLOW_MAX_MODEL_BYTES).")
    items: list[LookedUp]


class ModelUploadCreate(Content):
    """The model that a client is going to send."""

    filename: Filename


class ModelUpload(Content):
    """An open session. Send the chunk at `offset` next; when `offset` is `size_bytes`, confirm."""

    id: UUID
    filename: str
    offset: int = Field(description="How many bytes the server holds without a gap.")
    chunk_bytes: int = Field(description="Size of every chunk but the last, which has the rest.")
    created_at: Timestamp
    expires_at: Timestamp = Field(description="When an upload that nobody goes on with is forgotten; chunks move it.")


class ModelUser(BaseModel):
    """A workflow whose current version names a model by its SHA-256."""

    id: UUID
    path: str = Field(examples=["default/portrait"])


class ModelRecord(Content):
    """An uploaded model. Its bytes never change."""

    id: UUID
    org_id: UUID
    filename: str = Field(description="The name under which it was uploaded first.")
    created_by: UUID | None = Field(description="The API key that uploaded it.")
    created_at: Timestamp
    used_by: list[ModelUser] | None = Field(
        description=f"Workflows whose current version names it, by path, at most {MOST_NAMED}; null unless "
        "`embed=used_by` asks for it."
    )
    used_by_count: int | None = Field(description="How many they are in all; null unless `embed=used_by` asks for it.")
    workers: list[str] | None = Field(
        description=f"Names of connected workers whose engine has it, at most {MOST_NAMED}; null unless "
        "`embed=workers` asks for it with a key that may list workers."
    )


EMBEDS = frozenset({"used_by", "workers"})


def model_record(model: ModelRow) -> dict[str, Any]:
    """Return a model's record, which does not say who uses it."""
    return {
        "sha256": model.sha256,
        "size_bytes": model.size_bytes,
        "id": model.id,
        "org_id": model.org_id,
        "filename": model.filename,
        "created_by": model.created_by,
        "created_at": model.created_at,
        "used_by": None,
        "used_by_count": None,
        "workers": None,
    }


def upload_record(session: ModelUploadRow) -> dict[str, Any]:
    """Return an open session's record."""
    return {
        "id": session.id,
        "sha256": session.sha256,
        "size_bytes": session.size_bytes,
        "filename": session.filename,
        "offset": session.received_bytes,
        "chunk_bytes": CHUNK_BYTES,
        "created_at": session.created_at,
        "expires_at": session.updated_at + timedelta(seconds=STALE_SECONDS),
    }
