"""Shapes of workers as the operator sees them."""

from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from runflow.web.responses import Timestamp


class HeldRun(BaseModel):
    """A run of your organization that a worker holds."""

    id: UUID
    status_code: str
    comfyui_workflow_id: UUID
    started_at: Timestamp | None


class WorkerAbilities(BaseModel):
    """What a worker's engine can run, in numbers. A count is null where the worker cannot tell."""

    comfyui_version: str | None
    comfyui_commit: str | None
    node_types_count: int | None = Field(description="Node classes.")
    node_packs_count: int | None = Field(description="Folders and files in `custom_nodes`.")
    models_count: int | None = Field(description="Model files.")
    places_models: bool = Field(description="It fetches the models that an organization has uploaded.")
    fetches_addresses: bool = Field(description="It fetches models from the addresses that a manifest names, too.")
    allows_pickle: bool = Field(description="It fetches formats that can hold code, too.")


class WorkerSandbox(BaseModel):
    """What a worker's engine cannot leave."""

    rung: str
    separates_files: bool = Field(description="What one domain's runs read and write is out of reach for another's.")
    isolation: str = Field(description="`RUNFLOW_ISOLATION`: `run`, `organization` or `worker`.")
    fork_level: int | None = Field(description="Of the fork server that its engines come from; null: plain boots.")
    why_not_better: str | None


class Worker(BaseModel):
    """A worker process on a GPU machine."""

    id: UUID
    name: str
    gpu_code: str = Field(examples=["L40S"])
    gpu_name: str | None
    memory_gb: int
    labels: dict[str, str]
    status_code: str = Field(description="`ready`, `no_engine` or `engine_down`, as it said last.")
    status_detail: str | None = Field(description="What is wrong and what to do, null when it is ready.")
    online: bool = Field(description="Whether it is connected: it asked for work within the last 40 seconds.")
    draining: bool = Field(description="Gets no new runs and finishes those it has.")
    takeovers: int = Field(
        description="How often a process of this name was still at work when another one took the name: two workers "
        "must not share one."
    )
    taken_over_at: Timestamp | None = Field(description="When that was noticed last.")
    engine: dict[str, Any] | None = Field(description="What its ComfyUI is: kind, versions, device, abilities.")
    runs: list[HeldRun] = Field(description="What it works on for your organization; others' runs are not shown.")
    abilities: WorkerAbilities | None = Field(
        description="What its engine can run; null where it has told none: it is offered every lane."
    )
    sandbox: WorkerSandbox | None = Field(description="What its engine cannot leave; null where it has not said.")
    last_seen_at: Timestamp
    created_at: Timestamp


class PatchWorker(BaseModel):
    """What to change of a worker."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"draining": True}]})

    draining: bool = Field(strict=True)
