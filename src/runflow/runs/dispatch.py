"""Dispatch: check against the interface of the workflow's version, store inline files, enter the queue."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runflow import errors
from runflow.billing.budget import require_credit
from runflow.ids import new_id
from runflow.queue.intake import Intake, NewRun
from runflow.runs.file_inputs import Given
from runflow.runs.preparation import prepare
from runflow.runs.schemas import DispatchRequest
from runflow.web.auth import Principal
from runflow.web.services import Services
from runflow.workflows.targets import DispatchTarget, dispatch_target


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Dispatches runs of one server process."""

    services: Services
    intake: Intake

    async def dispatch(
        self, caller: Principal, owner: str, slug: str, body: DispatchRequest, request_id: str | None
    ) -> dict[str, Any]:
        """Queue a run and return its row.

        Raises `WorkflowNotFound`, `WorkflowDisabled`, or `ValidationFailed` naming each input.
        """
        target = await dispatch_target(self.services, caller, owner, slug)
        return await self.queue(
            caller,
            target,
            Given(body.input),
            metadata=body.metadata,
            client_ref=body.client_ref,
            callback_url=body.callback_url,
            request_id=request_id,
        )

    async def queue(
        self,
        caller: Principal,
        target: DispatchTarget,
        given: Given,
        *,
        metadata: dict[str, Any] | None,
        **more: Any,
    ) -> dict[str, Any]:
        """Queue a run of this target and return its row; `more` are fields of `NewRun`.

        Raises `WorkflowDisabled`, or `ValidationFailed` naming each input.
        """
        await self.admit(caller, target)
        prepared = await prepare(self.services, caller, target, [given], metadata)
        run = self.new_run(caller, target, prepared.inputs[0], metadata=prepared.metadata, **more)
        return fresh_row(run, await self.intake.submit(run))

    async def admit(self, caller: Principal, target: DispatchTarget) -> None:
        """Let runs of this target pass: the one door of dispatches, batches and reruns.

        Raises `WorkflowDisabled`, or `InsufficientCredit` when the caller's budget is used up.
        """
        if target.status_code != "active":
            raise errors.WorkflowDisabled
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


_NOT_YET: Mapping[str, Any] = dict.fromkeys(
    [
        *("started_at", "completed_at", "duration_ms", "cost", "cost_breakdown", "nodes_total", "nodes_completed"),
        *("failure_code", "failure_stage_code", "failure_message", "failure_details", "cancellation_reason"),
    ]
)
_FROM_RUN = (
    *("id", "org_id", "comfyui_workflow_id", "target_version", "source_code", "input", "metadata", "client_ref"),
    *("callback_url", "request_id", "created_by", "gpu_class", "batch_id", "batch_index", "rerun_of"),
)


def fresh_row(run: NewRun, created_at: datetime) -> dict[str, Any]:
    """Return the row of a run that was just committed as the database has it, without reading it again."""
    values = {name: getattr(run, name) for name in _FROM_RUN}
    return {
        **_NOT_YET,
        **values,
        "target_type": "comfyui_workflow",
        "status_code": "queued",
        "attempt_count": 0,
        "created_at": created_at,
        "has_logs": False,
        "has_node_runs": False,
        "output_expired": False,
        "outputs": [],
    }
