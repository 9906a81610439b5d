"""Which connected workers can run a version, and what the others lack."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from runflow import errors
from runflow.graph import GraphWarning
from runflow.protocol.workers import CPU
from runflow.sources.known import ApprovedSources
from runflow.sources.named import NamedSource
from runflow.sources.tables import SourceState
from runflow.web.auth import Principal
from runflow.web.services import Services
from runflow.workflows import queries
from runflow.workflows.fields import GpuMode
from runflow.workflows.prebuilds import queries as prebuild_queries
from runflow.workflows.runtime import builds
from runflow.workflows.runtime.known import ANY_GPU, Known, Machine
from runflow.workflows.runtime.requirements import Requirements
from runflow.workflows.runtime.satisfies import (
    LARGER_GPU,
    Difference,
    DifferenceCode,
    is_built,
    keeps_files_together,
    lacks_gpu,
    lacks_labels,
    lacks_memory,
    sentences,
)
from runflow.workflows.tables import WorkflowRow

log = structlog.get_logger()

MOST_UNAPPROVED = 10
"""So many sources that are not approved are named in warnings."""
_SHORT = 12


@dataclass(frozen=True, slots=True)
class Fit:
    """A connected worker, and what is different there from what a version needs. `least_gb`: of GPU memory, in GiB."""

    machine: Machine
    differences: tuple[Difference, ...]
    least_gb: int = 0

    @property
    def is_able(self) -> bool:
        """Whether the version's runs are offered to it."""
        return not any(one.keeps_away for one in self.differences)

    @property
    def waits_for_approval(self) -> bool:
        """Whether it would build what the version needs, if the operator had approved that."""
        return any(one.code is DifferenceCode.SOURCE_NOT_APPROVED for one in self.differences)


async def fits(
    services: Services,
    machines: Iterable[Machine],
    version_id: UUID,
    version: Requirements,
    *,
    labels: Mapping[str, str] | None,
    org_id: UUID,
    gpu_class: str,
    now: bool = False,
    also_approved: Collection[tuple[str, str]] = (),
) -> list[Fit]:
    """Return for each worker what is different from what runs of this organization and version need.

    `now`: nothing that was uploaded or approved in the last second is missed. `also_approved`: sources whose approval
    is not committed yet.
    """
    known = services.part(Known)
    installation = await known.read_installation()
    contents = {model.sha256 for model in version.models if model.sha256 is not None}
    await known.look_for_uploads(contents, now=now)
    uploaded = {one for one in contents if known.has_uploaded(version.org_id, one)}
    approved = services.part(ApprovedSources)
    await approved.look_for((one.key for one in version.sources), now=now)

    def is_approved(one: Difference) -> bool:
        return bool(one.if_approved) and all(
            key in also_approved or approved.is_approved(*key) for key in one.if_approved
        )

    least_gb = await known.least_gb(version, org_id=org_id, version_id=version_id, gpu_class=gpu_class, now=now)
    # Many machines are alike.
    judged: dict[str, list[Difference]] = {}
    found = []
    for machine in machines:
        key = "" if machine.engine is None else f"{machine.engine.key} {machine.engine.complete}"
        if key not in judged:
            told = known.differences(version_id, version, machine.engine)
            judged[key] = [one for one in told if one.if_uploaded not in uploaded and not is_approved(one)]
        differences = (
            *lacks_gpu(gpu_class, machine.worker.gpu_code),
            *lacks_memory(least_gb, 0 if machine.worker.gpu_code == CPU else machine.worker.memory_gb),
            *lacks_labels(labels, machine.worker.labels),
            *keeps_files_together(machine.sandbox, installation.several, is_operator=org_id == installation.operator),
            *judged[key],
            *(known.kept_by_builds(version_id, machine.worker.id, machine.engine) if is_built(judged[key]) else ()),
        )
        found.append(Fit(machine, differences, least_gb))
    return found


async def fits_of(
    services: Services, *, org_id: UUID, workflow_id: UUID, version_id: UUID, gpu_class: str
) -> list[Fit]:
    """Return for each connected worker what is different from what an organization's runs of a version need."""
    known = services.part(Known)
    machines = await known.machines()
    if not machines:
        return []
    version = await known.version(version_id)
    labels = (await known.read_installation()).labels.get(workflow_id)
    return await fits(services, machines, version_id, version, labels=labels, org_id=org_id, gpu_class=gpu_class)


def nobody_can(found: Sequence[Fit]) -> tuple[str, str] | None:
    """Return why no connected worker can run a version, and the next step; None where one can, or none is connected.

    Workers of another GPU class are not spoken of where there are some of the right one.
    """
    if not found or any(fit.is_able for fit in found):
        return None
    fitting = [fit for fit in found if not any(one.code == "GPU_CLASS" for one in fit.differences)]
    return told_of(fitting or found)


def told_of(found: Sequence[Fit]) -> tuple[str, str] | None:
    """Return what keeps a version's runs from these workers, as `sentences` does.

    Where it is only their GPU memory, the largest one is named.
    """
    away = [[one.code for one in fit.differences if one.keeps_away] for fit in found]
    if away and all(codes == [DifferenceCode.GPU_MEMORY] for codes in away):
        largest = max(fit.machine.worker.memory_gb for fit in found)
        needed = found[0].least_gb
        return f"it needs about {needed} GiB of GPU memory, and the largest connected GPU has {largest} GiB", LARGER_GPU
    return sentences([(fit.machine.worker.name, fit.differences) for fit in found])


@dataclass(frozen=True, slots=True)
class Outlook:
    """Whether a connected worker can run what was just deployed, and a warning where none can.

    `can_run` is None, and nothing is said, without any worker of the GPU classes that it asks for: those may be started
    on demand.
    """

    can_run: bool | None = None
    warnings: tuple[GraphWarning, ...] = ()


async def outlook(
    services: Services,
    org_id: UUID,
    workflow_id: UUID,
    version_id: UUID | None = None,
    *,
    approved: Collection[tuple[str, str]] = (),
) -> Outlook:
    """Return what becomes of the runs of a version that was just deployed. Call it after the commit.

    `version_id` None: the workflow's current one. `approved`: sources that the deployment itself has approved; an
    enclosing unit of work has not committed that yet. What was deployed stands, whatever comes here.
    """
    try:
        _, found, version = await _of_workflow(services, org_id, workflow_id, version_id, approved=approved)
        unapproved = await _unapproved(services, version, approved) if version is not None and _waits(found) else []
    except Exception:
        log.exception("nothing can be said of the workers for a deployment", workflow_id=str(workflow_id))
        return Outlook()
    fitting = [fit for fit in found if not any(one.code == "GPU_CLASS" for one in fit.differences)]
    if not fitting:
        return Outlook()
    reason = nobody_can(fitting)
    if reason is None:
        return Outlook(True)
    warning = GraphWarning(None, f"No connected worker can run this yet: {reason[0]}.", reason[1])
    return Outlook(False, (warning, *_about_approval(unapproved)))


def _waits(found: Sequence[Fit]) -> bool:
    """Tell whether nobody can run a version before the operator has approved something."""
    return not any(fit.is_able for fit in found) and any(fit.waits_for_approval for fit in found)


async def _unapproved(
    services: Services, version: Requirements, approved: Collection[tuple[str, str]] = ()
) -> list[tuple[NamedSource, SourceState]]:
    """Return those of a version's sources of which nothing is built, and whether they wait or were revoked."""
    known = services.part(ApprovedSources)
    await known.look_for((one.key for one in version.sources), now=True)
    told = [(one, known.state(*one.key) or SourceState.WAITING) for one in version.sources if one.key not in approved]
    return [(one, state) for one, state in told if state is not SourceState.APPROVED]


def _about_approval(unapproved: Sequence[tuple[NamedSource, SourceState]]) -> Iterator[GraphWarning]:
    for one, state in unapproved[:MOST_UNAPPROVED]:
        what = f"{one.name} at {one.commit[:_SHORT]} ({one.origin})"
        yield GraphWarning(
            None,
            f"A runtime of its own waits for the operator's approval of {what}."
            if state is SourceState.WAITING
            else f"No runtime of its own is built: the operator has revoked {what}.",
            f"Approve it: `runflow sources approve {one.origin}@{one.commit}`, or ask the operator to.",
        )
    if len(unapproved) > MOST_UNAPPROVED:
        more = len(unapproved) - MOST_UNAPPROVED
        yield GraphWarning(
            None, f"{more} more of its sources are not approved.", "`runflow sources list` shows the operator all."
        )


async def runtime(services: Services, caller: Principal, workflow_id: UUID) -> dict[str, Any]:
    """Return which connected workers can run a workflow's current version. Raises `WorkflowNotFound`."""
    row, found, version = await _of_workflow(services, caller.org_id, workflow_id)
    if row is None or version is None:
        raise errors.WorkflowNotFound
    async with services.db.tenant(caller.org_id) as transaction:
        prebuild = await prebuild_queries.one(transaction, row.version_id)
    reason = nobody_can(found)
    if not found:
        reason = "no worker is connected", "Start one with `runflow worker --server URL --token-file FILE`."
    return {
        "comfyui_workflow_id": row.id,
        "version": row.version,
        "can_run": any(fit.is_able for fit in found),
        "reason": None if reason is None else f"No connected worker can run this yet: {reason[0]}. {reason[1]}",
        "prebuild": None if prebuild is None else prebuild_queries.record(prebuild, waits=_waits(found)),
        "builds": await builds.told(services, row.version_id),
        "unapproved_sources": [
            {
                "kind_code": one.kind,
                "name": one.name,
                "origin": one.origin,
                "commit": one.commit,
                "state_code": state,
            }
            for one, state in await _unapproved(services, version)
        ],
        "workers": [_record(fit) for fit in sorted(found, key=lambda fit: (not fit.is_able, fit.machine.worker.name))],
    }


async def _of_workflow(
    services: Services,
    org_id: UUID,
    workflow_id: UUID,
    version_id: UUID | None = None,
    *,
    approved: Collection[tuple[str, str]] = (),
) -> tuple[WorkflowRow | None, list[Fit], Requirements | None]:
    known = services.part(Known)
    # As the tenant: an enclosing unit of work has not committed yet what was just deployed.
    async with services.db.tenant(org_id) as transaction:
        row = await queries.one_record(transaction, org_id, (), key=workflow_id)
        if row is None:
            return None, [], None
        version_id = version_id or row.version_id
        version = (await known.requirements.read(transaction, [version_id]))[version_id]
    gpu_class = ",".join(row.gpu_explicit_models) if row.gpu_mode == GpuMode.EXPLICIT else ANY_GPU
    machines = await known.machines(now=True)
    found = await fits(
        services,
        machines,
        version_id,
        version,
        labels=row.worker_labels,
        org_id=row.org_id,
        gpu_class=gpu_class,
        now=True,
        also_approved=approved,
    )
    return row, found, version


def _record(fit: Fit) -> dict[str, Any]:
    worker = fit.machine.worker
    told = [
        {
            "code": one.code,
            "message": f"The worker {worker.name} {one.what}.",
            "next_step": one.next_step,
            "keeps_away": one.keeps_away,
        }
        for one in fit.differences
    ]
    return {
        "name": worker.name,
        "gpu_code": worker.gpu_code,
        "status_code": worker.status_code,
        "can_run": fit.is_able,
        "tells_abilities": fit.machine.engine is not None,
        "differences": [one for one in told if one["keeps_away"]],
        "notes": [one for one in told if not one["keeps_away"]],
    }
