"""Creating a batch: every item checked on its own, then all of them enter the queue together, or none."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from runflow.batches.record import lean_item, record
from runflow.batches.schemas import CreateBatch
from runflow.ids import new_id
from runflow.runs.dispatch import Dispatcher, fresh_row
from runflow.runs.given import Given
from runflow.runs.preparation import prepare
from runflow.runs.queue.intake import NewRun
from runflow.runs.references import replaced
from runflow.runs.schemas import ClientRef
from runflow.runs.signing import signed_references
from runflow.web.auth import Principal
from runflow.workflows.dispatch import DispatchTarget, dispatch_target

_REFERENCE: TypeAdapter[str | None] = TypeAdapter(ClientRef | None)


async def create(
    dispatcher: Dispatcher,
    caller: Principal,
    owner: str,
    slug: str,
    body: CreateBatch,
    *,
    request_id: str | None,
    base_url: str,
) -> dict[str, Any]:
    """Queue a batch and return its record.

    Raises `WorkflowNotFound`, `WorkflowDisabled`, or `ValidationFailed` naming every faulty value of every item.
    """
    target = await dispatch_target(dispatcher.services, caller, owner, slug)
    await dispatcher.admit(caller, target)
    given, references, faults = _read(body, target)
    prepared = await prepare(dispatcher.services, caller, target, given, body.metadata, faults)
    batch = {
        "id": new_id(),
        "comfyui_workflow_id": target.workflow_id,
        "version_id": target.version_id,
        "target_version": target.version,
        "source_code": "api",
        "items_total": len(given),
        "metadata": prepared.metadata,
        "callback_url": body.callback_url,
        "request_id": request_id,
        "created_by": caller.key_id,
    }
    runs = [
        dispatcher.new_run(
            caller,
            target,
            values,
            client_ref=reference,
            request_id=request_id,
            source_code="batch",
            batch_id=batch["id"],
            batch_index=index,
        )
        for index, (values, reference) in enumerate(zip(prepared.inputs, references, strict=True))
    ]
    created_at = await dispatcher.intake.submit_batch(batch, runs)
    return await _fresh(dispatcher, caller, {**batch, "created_at": created_at}, runs, base_url)


def _read(body: CreateBatch, target: DispatchTarget) -> tuple[list[Given], list[str | None], list[dict[str, Any]]]:
    """Return inputs and references of the items, in either spelling, and what is wrong with the references."""
    if body.items is not None:
        given = [Given(item.input, ("body", "items", index, "input")) for index, item in enumerate(body.items)]
        return given, [item.client_ref for item in body.items], []
    given, references, faults = [], [], []
    is_input = any(spec.name == "client_ref" for spec in target.interface.inputs)
    for index, values in enumerate(body.input or []):
        place = ("body", "input", index)
        reference: str | None = None
        if not is_input and "client_ref" in values:
            values = dict(values)
            try:
                reference = _REFERENCE.validate_python(values.pop("client_ref"), strict=True)
            except ValidationError as error:
                message = f"client_ref: {error.errors(include_url=False)[0]['msg']}"
                faults.append({"loc": [*place, "client_ref"], "msg": message, "type": "type_error"})
        given.append(Given(values, place))
        references.append(reference)
    return given, references, faults


async def _fresh(
    dispatcher: Dispatcher, caller: Principal, batch: dict[str, Any], runs: list[NewRun], base_url: str
) -> dict[str, Any]:
    """Return the record of a batch that was just committed, without reading it again."""
    inputs = [run.input for run in runs]
    signed = await signed_references(dispatcher.services, caller, [*inputs, batch["metadata"]], base_url)
    nothing = dict.fromkeys(
        [
            *("cost", "duration_ms", "started_at", "completed_at", "cancellation_reason"),
            *("failure_code", "failure_stage_code", "failure_message"),
        ]
    )
    counts = dict.fromkeys(["items_succeeded", "items_failed", "items_cancelled"], 0)
    row = {
        **nothing,
        **counts,
        **batch,
        "org_id": caller.org_id,
        "target_type": "comfyui_workflow",
        "status_code": "queued",
        "metadata": replaced(batch["metadata"], signed.get),
    }
    rows = [fresh_row(run, batch["created_at"]) for run in runs]
    return {
        **record(row, base_url),
        "items": [lean_item(run) for run in rows],
        "input": [replaced(one, signed.get) for one in inputs],
        "output": None,
    }
