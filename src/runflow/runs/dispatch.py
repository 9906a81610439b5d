"""Dispatch: check against the interface of the workflow's version, store inline files, enter the queue."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runflow import errors
from runflow.billing.budget import require_credit
from runflow.ids import new_id
from runflow.queue.intake import Intake, NewRun
from runflow.runs.file_inputs import Given
from runflow.runs.preparation import callback_faults, prepare
from runflow.runs.schemas import DispatchRequest
from runflow.runs.tables import RunRow
from runflow.web.auth import Principal
from runflow.web.services import Services
from runflow.workflows.targets import DispatchTarget, at_version, dispatch_target

PRIORITIZE = "runs:prioritize"
"""The scope that a priority needs."""


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Dispatches runs of one server process."""

    services: Services
    intake: Intake

    async def dispatch(
        self, caller: Principal, owner: str, slug: str, body: DispatchRequest, request_id: str | None
    ) -> RunRow:
        """Queue a run and return its row.

        Raises `WorkflowNotFound`, `WorkflowDisabled`, `PermissionDenied`, or `ValidationFailed` naming each input.
        """
        target = await self.target(caller, owner, slug, body.version)
        return await self.queue(
            caller,
            target,
            Given(body.input),
            metadata=body.metadata,
            client_ref=body.client_ref,
            callback_url=body.callback_url,
            request_id=request_id,
            priority=body.priority or 0,
        )

    async def target(self, caller: Principal, owner: str, slug: str, version: int | None) -> DispatchTarget:
        """Return what to run: this version of the workflow, or its current one.

        Raises `WorkflowNotFound`, or `ValidationFailed` for a version that there is not.
        """
        target = await dispatch_target(self.services, caller, owner, slug)
        return target if version is None else await at_version(self.services, caller, target, version)

    async def queue(
        self,
        caller: Principal,
        target: DispatchTarget,
        given: Given,
        *,
        metadata: dict[str, Any] | None,
        priority: int,
        **more: Any,
    ) -> RunRow:
        """Queue a run of this target and return its row; `more` are fields of `NewRun`.

        Raises `WorkflowDisabled`, `PermissionDenied`, or `ValidationFailed` naming each input.
        """
        await self.admit(caller, target, priority)
        faults = callback_faults(self.services, more.get("callback_url"))
        prepared = await prepare(self.services, caller, target, [given], metadata, faults)
        run = self.new_run(caller, target, prepared.inputs[0], metadata=prepared.metadata, priority=priority, **more)
        return fresh_row(run, await self.intake.submit(run), f"{target.owner}/{target.slug}")

    async def admit(self, caller: Principal, target: DispatchTarget, priority: int) -> None:
        """Let runs of this target pass: the one door of dispatches, batches and reruns.

        Raises `PermissionDenied` for a priority that the key may not give, `WorkflowDisabled`, `WorkflowNotServing`, or
        `InsufficientCredit` when the caller's budget is used up.
        """
        if priority and PRIORITIZE not in caller.scopes:
            raise errors.PermissionDenied(
                f"This API key lacks the scope for `priority`: any but 0 needs `{PRIORITIZE}`. Leave it out, or use a "
                "key that has the scope."
            )
        if target.status_code != "active":
            raise errors.WorkflowDisabled
        if not target.is_serving:
            raise errors.WorkflowNotServing
        await require_credit(self.services, caller.org_id)

    def new_run(self, caller: Principal, target: DispatchTarget, values: dict[str, Any], **more: Any) -> NewRun:
        """Return a run with these accepted values; `more` are fields of `NewRun`."""
        return NewRun(
            id=new_id(),
            org_id=caller.org_id,
            comfyui_workflow_id=target.workflow_id,
            version_id=target.version_id,
            target_version=target.version,
            fingerprint=target.fingerprint,
            gpu_class=target.gpu_class,
            timeout_seconds=target.timeout_seconds or self.services.settings.run_timeout_seconds,
            input=values,
            created_by=caller.key_id,
            **more,
        )


def fresh_row(run: NewRun, created_at: datetime, model: str) -> RunRow:
    """Return the row of a run that was just committed as the database has it, without reading it again.

    `model` is the path of its workflow.
    """
    return RunRow(
        id=run.id,
        org_id=run.org_id,
        comfyui_workflow_id=run.comfyui_workflow_id,
        version_id=run.version_id,
        target_version=run.target_version,
        target_type="comfyui_workflow",
        batch_id=run.batch_id,
        batch_index=run.batch_index,
        rerun_of=run.rerun_of,
        status_code="queued",
        source_code=run.source_code,
        priority=run.priority,
        client_ref=run.client_ref,
        callback_url=run.callback_url,
        request_id=run.request_id,
        created_by=run.created_by,
        gpu_class=run.gpu_class,
        attempt_count=0,
        cancellation_reason=None,
        nodes_total=None,
        nodes_completed=None,
        has_logs=False,
        has_node_runs=False,
        created_at=created_at,
        started_at=None,
        completed_at=None,
        duration_ms=None,
        waited_ms=None,
        machine_ms=None,
        runtime_ms=None,
        model_ms=None,
        engine_ms=None,
        cost=None,
        failure_code=None,
        failure_stage_code=None,
        failure_message=None,
        output_expired=False,
        input=run.input,
        metadata=run.metadata,
        model=model,
    )
