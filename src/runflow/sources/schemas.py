"""Shapes of sources as the operator sees them (docs/api/sources.md)."""

from uuid import UUID

from pydantic import BaseModel, Field

from runflow.sources.named import SourceKind
from runflow.sources.tables import SourceState
from runflow.web.responses import Timestamp

MOST_NAMED = 20
"""So many of a source's names and workflows are told."""


class SourceWorkflow(BaseModel):
    """A workflow whose current version names a source."""

    id: UUID
    name: str
    path: str = Field(examples=["acme/portrait"])
    organization: str = Field(description="Name of the organization.")


class SourceDeployment(BaseModel):
    """Who deployed the first version that names a source."""

    organization: str = Field(description="Slug of the organization.", examples=["acme"])
    key_id: UUID | None = Field(description="The API key; null where that is not known.")
    key_name: str | None
    email: str | None = Field(description="Address of the user that the key belongs to; null for one of nobody.")
    at: Timestamp


class Source(BaseModel):
    """Source code that may be built once it is approved: one commit of one repository."""

    id: UUID
    origin: str = Field(examples=["https://github.com/acme/comfyui-grow"])
    commit: str = Field(examples=["5ac69ad6" * 5])
    kind_code: SourceKind | None = Field(description="What versions take it for; null where none names it.")
    names: list[str] = Field(description=f"What versions call it, at most {MOST_NAMED}; their authors chose that.")
    state_code: SourceState
    first_seen_at: Timestamp
    decided_at: Timestamp | None = Field(description="When it was approved or revoked.")
    decided_by: UUID | None = Field(
        description="The API key that did it; null for RUNFLOW_APPROVED_SOURCES, and while it waits."
    )
    workflows: list[SourceWorkflow] = Field(
        description=f"Workflows whose current version needs it, by path, at most {MOST_NAMED}."
    )
    workflows_count: int = Field(description="How many they are in all.")
    deployed_by: SourceDeployment | None = Field(description="Who named it first; null where no version names it.")
    packages_count: int | None = Field(
        description="How many Python packages that version names beside it; null where no version names it."
    )
