"""Shapes of what the runtime route answers (docs/api/workflows.md, "Which workers can run it")."""

from uuid import UUID

from pydantic import BaseModel, Field

from runflow.sources.named import SourceKind
from runflow.sources.tables import SourceState
from runflow.web.responses import Timestamp
from runflow.workflows.prebuilds.schemas import Prebuild
from runflow.workflows.runtime.satisfies import DifferenceCode


class WorkerDifference(BaseModel):
    """Something that a version needs and a worker lacks or has otherwise."""

    code: DifferenceCode
    message: str = Field(examples=["The worker box-1 lacks the node class FaceDetailer (pack ComfyUI-Impact-Pack)."])
    next_step: str
    keeps_away: bool = Field(description="Runs of the version are not offered to this worker for it.")


class RuntimeWorker(BaseModel):
    """A connected worker, and whether it can run the version."""

    name: str
    gpu_code: str
    status_code: str = Field(description="`ready`, `no_engine` or `engine_down`.")
    can_run: bool
    tells_abilities: bool = Field(
        description="False: an older worker, or one whose engine is starting; only its GPU and labels are known."
    )
    differences: list[WorkerDifference] = Field(description="What keeps the runs away from it.")
    notes: list[WorkerDifference] = Field(description="What is otherwise and not held against it.")


class RuntimeBuild(BaseModel):
    """How the last build of the version's runtime went on a worker."""

    worker: str
    runtime: str | None = Field(
        description="What it is called there, by what it is made of: versions with the same one share it."
    )
    succeeded: bool
    elapsed_ms: int
    step: str | None = Field(
        description="Where it failed: `manifest`, `sources`, `packages`, `environment`, `check`, `folder`."
    )
    pack: str | None = Field(description="The node pack whose fault that is.")
    message: str | None
    log: str = Field(description="The end of what was said meanwhile.")
    ended_at: Timestamp


class UnapprovedSource(BaseModel):
    """Source code that the version names and of which no runtime is built."""

    kind_code: SourceKind
    name: str = Field(examples=["ComfyUI-Impact-Pack"])
    origin: str
    commit: str
    state_code: SourceState = Field(description="`waiting` for the operator's approval, or `revoked`.")


class Runtime(BaseModel):
    """Which connected workers can run the workflow's current version."""

    comfyui_workflow_id: UUID
    version: str
    can_run: bool = Field(description="Whether at least one connected worker has all that it needs.")
    reason: str | None = Field(description="Why none can, and what to do; null where one can.")
    unapproved_sources: list[UnapprovedSource] = Field(
        description="What of its ComfyUI and node packs the operator has not approved for building. It matters where "
        "no worker can run it as it is."
    )
    workers: list[RuntimeWorker] = Field(description="Those that can run it first.")
    prebuild: Prebuild | None = Field(
        description="How far a worker is that was asked to prepare it; null: nobody asked."
    )
    builds: list[RuntimeBuild] = Field(
        description="Of the runtime that workers build where their own ComfyUI lacks something, the newest first."
    )
