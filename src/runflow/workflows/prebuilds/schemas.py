"""Shapes of pre-builds on the wire (docs/api/workflows.md, "Preparing a machine")."""

from uuid import UUID

from pydantic import BaseModel, Field

from runflow.web.responses import Timestamp
from runflow.workflows.prebuilds.queries import PrebuildState


class Prebuild(BaseModel):
    """A version's runtime and models, brought to a worker before a run needs them."""

    version_id: UUID
    state_code: PrebuildState = Field(
        description="`waiting_for_approval`: nobody may begin before the operator has approved what "
        "`unapproved_sources` of the runtime route names."
    )
    requested_at: Timestamp
    started_at: Timestamp | None = Field(description="When a worker began last.")
    ended_at: Timestamp | None
    worker: str | None = Field(description="The worker that is at it, or has ended it.")
    tries: int = Field(description="How often workers have begun since it was asked for.")
    step: str | None = Field(
        description="What the worker is at: `runtime` or `models`; or where it failed: `manifest`, `sources`, "
        "`packages`, `environment`, `check`, `folder` or `models`."
    )
    pack: str | None = Field(description="The node pack whose fault it is that it failed.")
    message: str | None = Field(description="How far it is, or why it failed, with the next step.")
    log: str = Field(description="The end of what a failed build said.")
