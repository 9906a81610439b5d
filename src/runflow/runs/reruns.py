"""Reruns: the same input again, on the workflow's current version or on the one that the run was made on."""

from uuid import UUID

from runflow import errors
from runflow.graph import Interface
from runflow.runs import queries
from runflow.runs.dispatch import Dispatcher
from runflow.runs.file_inputs import Given
from runflow.runs.schemas import RerunRequest, RerunVersion
from runflow.runs.tables import RunRow
from runflow.web.auth import Principal
from runflow.web.services import Services
from runflow.workflows.fields import GpuMode
from runflow.workflows.targets import AUTO, DispatchTarget, at_version


async def rerun(
    dispatcher: Dispatcher, caller: Principal, run_id: UUID, body: RerunRequest, request_id: str | None
) -> RunRow:
    """Queue a run again and return the new run's row.

    Raises `RunNotFound`, `WorkflowNotFound`, `WorkflowDisabled`, `PermissionDenied`, or `ValidationFailed` for a
    version that there is not, or naming each input that the version does not take (any more).
    """
    run = await queries.by_id(dispatcher.services, caller.org_id, run_id)
    if run is None:
        raise errors.RunNotFound
    # By its number, too: a caller may always repeat what it has run, of another organization's workflow as well.
    is_pinned = body.version is RerunVersion.PINNED or str(body.version) == run.target_version
    pinned = run.version_id if is_pinned else None
    target = await target_of(dispatcher.services, caller, run.comfyui_workflow_id, pinned)
    if not is_pinned and isinstance(body.version, int):
        target = await at_version(dispatcher.services, caller, target, body.version)
    sent = body.model_fields_set
    return await dispatcher.queue(
        caller,
        target,
        Given(run.input, ("run", "input")),
        metadata=body.metadata if "metadata" in sent else run.metadata,
        client_ref=body.client_ref if "client_ref" in sent else run.client_ref,
        callback_url=body.callback_url if "callback_url" in sent else run.callback_url,
        request_id=request_id,
        priority=body.priority or 0,
        source_code="rerun",
        rerun_of=run_id,
    )


async def target_of(services: Services, caller: Principal, workflow: UUID, version: UUID | None) -> DispatchTarget:
    """Return a workflow to run, by its id, at a version; None: at the current one. Raises `WorkflowNotFound`."""
    # By id and not by path: after a delete, the slug may be another workflow's.
    async with services.db.system(durable=False) as transaction:
        row = await queries.target_row(transaction, org_id=caller.org_id, workflow_id=workflow, version_id=version)
    if row is None:
        raise errors.WorkflowNotFound("The workflow of this run was deleted, or is not public any more.")
    return DispatchTarget(
        workflow_id=row.id,
        org_id=row.org_id,
        owner=row.owner,
        slug=row.slug,
        version_id=row.version_id,
        version=str(row.number),
        status_code=row.status_code,
        gpu_class=",".join(row.gpu_explicit_models) if row.gpu_mode == GpuMode.EXPLICIT else AUTO,
        timeout_seconds=row.timeout_seconds,
        interface=Interface.from_dict(row.interface),
        fingerprint=row.fingerprint,
        resources=row.resources,
        is_serving=row.is_serving,
    )
