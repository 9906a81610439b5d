"""Pre-builds: what a worker without runs is given to prepare, and how it tells of that (docs/worker-api.md)."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from annotated_types import Ge, Le

from runflow.protocol.bounds import Sentence, Short
from runflow.protocol.cached_files import LeasedCachedFile
from runflow.protocol.failures import Failure
from runflow.protocol.leases import MAX_WAIT_SECONDS, LeasedModel, LeasedVersion
from runflow.protocol.runtimes import BuildReport
from runflow.protocol.workers import LeaseCall

PrebuildResult = Literal["building", "ready", "failed", "released"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrebuildRequest(LeaseCall):
    """A worker that has no run asks for something to prepare."""

    wait_seconds: Annotated[float, Ge(0), Le(MAX_WAIT_SECONDS)] = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class PrebuildOrder:
    """A version whose runtime is to be built, and whose models are to be fetched."""

    id: UUID = field(metadata={"description": "Names the lease: `POST /v1/worker/prebuilds/{id}/reports` renews it."})
    expires_at: datetime
    report_seconds: float = field(metadata={"description": "How often the worker says how far it is."})
    version: LeasedVersion
    models: list[LeasedModel] = field(default_factory=list)
    cached: list[LeasedCachedFile] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrebuildAnswer:
    """Something to prepare, or null where nothing waits for this worker."""

    prebuild: PrebuildOrder | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrebuildReport(LeaseCall):
    """How far a pre-build is; `building` renews its lease, everything else ends it."""

    result: PrebuildResult = field(metadata={"description": "`released`: given back, for runs need the worker."})
    step: Short | None = field(default=None, metadata={"description": "What it is at, or where it failed."})
    message: Sentence | None = None
    built: BuildReport | None = field(default=None, metadata={"description": "How the build went, if one did."})
    error: Failure | None = field(default=None, metadata={"description": "Why it failed."})


@dataclass(frozen=True, slots=True, kw_only=True)
class PrebuildReported:
    """The report was taken."""

    expires_at: datetime | None = field(
        default=None, metadata={"description": "Until when the lease is held now; null: it has ended."}
    )
