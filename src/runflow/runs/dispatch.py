"""Dispatch: validate against the pinned version's interface, store inline files, enter the queue."""

from dataclasses import dataclass
from typing import Any

from runflow import errors
from runflow.assets import service as assets
from runflow.graph.coerce import ValueRules
from runflow.graph.media import MediaKind
from runflow.graph.values import media_inputs, validate_values
from runflow.ids import new_id
from runflow.runs import references
from runflow.runs.queue.intake import Intake, NewRun
from runflow.runs.schemas import DispatchRequest
from runflow.services import Services
from runflow.web.auth import Principal
from runflow.workflows.dispatch import DispatchTarget, dispatch_target


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
        if target.status_code != "active":
            raise errors.WorkflowDisabled
        values = self._validated(target, body.input)
        values = await self._with_assets(caller, target, values)
        metadata = await self._stored_inline(caller, body.metadata)
        await self._require_assets(caller, values)
        run = NewRun(
            id=new_id(),
            org_id=caller.org_id,
            comfyui_workflow_id=target.workflow_id,
            version_id=target.version_id,
            target_version=target.version,
            fingerprint=target.fingerprint,
            gpu_class=target.gpu_class,
            timeout_seconds=target.timeout_seconds or self.services.settings.run_timeout_seconds,
            input=values,
            metadata=metadata,
            client_ref=body.client_ref,
            callback_url=body.callback_url,
            request_id=request_id,
            created_by=caller.key_id,
        )
        created_at = await self.intake.submit(run)
        return _fresh_row(run, created_at)

    def _validated(self, target: DispatchTarget, values: dict[str, Any]) -> dict[str, Any]:
        rules = ValueRules(allow_http=self.services.settings.allow_http_inputs)
        validated = validate_values(target.interface, values, rules)
        if validated.problems:
            found = [
                {"loc": ["body", "input", problem.key], "msg": problem.message, "type": problem.type}
                for problem in validated.problems
            ]
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise errors.ValidationFailed(f"{found[0]['msg']}{more}", errors=found)
        return dict(validated.values)

    async def _with_assets(self, caller: Principal, target: DispatchTarget, values: dict[str, Any]) -> dict[str, Any]:
        """Turn `data:` URIs of image and file inputs into assets of the caller."""
        for name, media in media_inputs(target.interface, values).items():
            if media.kind is MediaKind.DATA:
                stored = await assets.store_data_uri(self.services, caller, media.value, name)
                values[name] = f"{references.PREFIX}{stored}"
        return values

    async def _stored_inline(self, caller: Principal, metadata: dict[str, Any] | None) -> dict[str, Any] | None:
        """Turn `data:` URIs anywhere in the metadata into assets (wire.md 5.4)."""
        if metadata is None:
            return None

        async def walk(value: Any, name: str) -> Any:
            if isinstance(value, dict):
                return {key: await walk(item, str(key)) for key, item in value.items()}
            if isinstance(value, list):
                return [await walk(item, name) for item in value]
            if isinstance(value, str) and value.startswith("data:") and ";base64," in value[:200]:
                stored = await assets.store_data_uri(self.services, caller, value, name)
                return f"{references.PREFIX}{stored}"
            return value

        stored: dict[str, Any] = await walk(metadata, "metadata")
        return stored

    async def _require_assets(self, caller: Principal, values: dict[str, Any]) -> None:
        wanted = dict(references.found_in(values))
        if not wanted:
            return
        async with self.services.db.tenant(caller.org_id) as connection:
            found = await assets.resolve(connection, set(wanted.values()))
        problems = [
            {
                "loc": ["body", "input", name],
                "msg": f'Input "{name}": there is no asset {value} in your organization. Upload the file first.',
                "type": "unknown_asset",
            }
            for name, value in values.items()
            if (asset := references.asset_id(value)) is not None and asset not in found
        ]
        if problems:
            raise errors.ValidationFailed(str(problems[0]["msg"]), errors=problems)


def _fresh_row(run: NewRun, created_at: Any) -> dict[str, Any]:
    """Return the row as the database has it now, without reading it again."""
    nothing = dict.fromkeys(
        [
            *("batch_id", "started_at", "completed_at", "duration_ms", "cost", "cost_breakdown", "nodes_total"),
            *("nodes_completed", "failure_code", "failure_stage_code", "failure_message", "failure_details"),
        ]
    )
    return {
        **nothing,
        "id": run.id,
        "org_id": run.org_id,
        "comfyui_workflow_id": run.comfyui_workflow_id,
        "target_type": "comfyui_workflow",
        "target_version": run.target_version,
        "status_code": "queued",
        "source_code": run.source_code,
        "input": run.input,
        "metadata": run.metadata,
        "client_ref": run.client_ref,
        "callback_url": run.callback_url,
        "request_id": run.request_id,
        "created_by": run.created_by,
        "gpu_class": run.gpu_class,
        "attempt_count": 0,
        "created_at": created_at,
        "has_logs": False,
        "has_node_runs": False,
        "output_expired": False,
        "outputs": [],
    }
