"""Bodies and records of asset folders."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from runflow.web.responses import Timestamp


def _folder_name(name: str) -> str:
    plain = name.strip()
    if any(not char.isprintable() or char in "/\\" for char in plain):
        raise ValueError("a folder's name has no slashes and no control characters")
    if plain in ("", ".", ".."):
        raise ValueError("send a name that is not blank and not made of dots")
    return plain


FolderName = Annotated[
    str,
    Field(min_length=1, max_length=255, description="Unique among the folders beside it.", examples=["Portraits"]),
    AfterValidator(_folder_name),
]


class CreateFolder(BaseModel):
    """A new folder."""

    model_config = ConfigDict(extra="forbid")

    name: FolderName
    parent_id: UUID | None = Field(None, description="The folder that it is in; null is the top.")


class PatchFolder(BaseModel):
    """Changes to a folder; what is not sent stays."""

    model_config = ConfigDict(extra="forbid")

    name: FolderName | None = None
    parent_id: UUID | None = Field(None, description="The folder to move it into; null moves it to the top.")


class Folder(BaseModel):
    """A folder of assets."""

    id: UUID
    org_id: UUID
    parent_id: UUID | None = Field(description="The folder that it is in; null is the top.")
    name: str
    created_by: UUID | None
    created_at: Timestamp
    updated_at: Timestamp
