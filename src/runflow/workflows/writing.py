"""What creating and changing a workflow have in common, and the next version that each of them makes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from runflow import errors
from runflow.db.transaction import Transaction, Violation
from runflow.graph import GraphWarning
from runflow.ids import new_id
from runflow.web.auth import Principal
from runflow.web.services import Services
from runflow.workflows import queries, version_sources, warnings
from runflow.workflows.fields import GpuMode
from runflow.workflows.golden import service as golden
from runflow.workflows.interface import queries as interface_queries
from runflow.workflows.interface.declared import Settled
from runflow.workflows.interface.rows import InputRow, OutputRow, StoredRows
from runflow.workflows.interface.schemas import Definition
from runflow.workflows.schemas import CreateWorkflow, PatchWorkflow
from runflow.workflows.tables import WorkflowRow

OWN = ("name", "slug", "description", "is_public", "status_code", "category_code", "gpu_mode", "gpu_explicit_models",
       "worker_labels", "timeout_seconds", "max_running", "auto_evaluate", "evaluation_task_type")  # fmt: skip
"""The fields of a body that are the workflow's own; the others belong to its versions."""
NULLABLE = frozenset(
    {"description", "category_code", "worker_labels", "timeout_seconds", "max_running", "evaluation_task_type"}
)


async def locked(transaction: Transaction, workflow_id: UUID) -> WorkflowRow:
    """Return a live workflow that is about to be changed; other changes wait. Raises `WorkflowNotFound`."""
    found = await queries.lock(transaction, workflow_id)
    if found is None:
        raise errors.WorkflowNotFound
    if found.deleted_at is not None:
        restorations = f"POST /v1/comfyui-workflows/{workflow_id}/restorations"
        raise errors.WorkflowNotFound(f"This workflow was deleted. `{restorations}` brings it back.")
    return found


def own_values(body: CreateWorkflow | PatchWorkflow) -> dict[str, Any]:
    """Return the workflow's own fields that were sent; null where a field cannot be null counts as not sent."""
    values = {name: getattr(body, name) for name in OWN if name in body.model_fields_set}
    if values.get("gpu_explicit_models") is not None:
        values["gpu_explicit_models"] = list(dict.fromkeys(values["gpu_explicit_models"]))
    if "worker_labels" in values:
        values["worker_labels"] = values["worker_labels"] or None
    return {name: value for name, value in values.items() if value is not None or name in NULLABLE}


def stated(definitions: Sequence[Definition] | None) -> list[dict[str, Any]]:
    """Return the fields that were sent of each explicit input or output."""
    return [item.stated() for item in definitions or ()]


def check_timeout(services: Services, seconds: int | None) -> None:
    """Raise `ValidationFailed` where a time limit is beyond what the operator allows."""
    most = services.settings.max_run_timeout_seconds
    if seconds is not None and seconds > most:
        raise invalid(
            "timeout_seconds", f"The operator allows at most {most} seconds (RUNFLOW_MAX_RUN_TIMEOUT_SECONDS)"
        )


async def gpu_warnings(
    transaction: Transaction, values: Mapping[str, Any], mode: str, models: Sequence[str]
) -> list[GraphWarning]:
    """Check the GPU choice that results, and return what may surprise about it.

    Raises `ValidationFailed` where the mode is explicit and no GPU is named.
    """
    if mode == GpuMode.EXPLICIT and not models:
        raise invalid("gpu_explicit_models", "gpu_mode explicit needs at least one GPU code in gpu_explicit_models")
    if not models or not {"gpu_mode", "gpu_explicit_models"} & set(values):
        return []
    return list(warnings.about_gpus(mode, models, await queries.gpu_codes(transaction)))


def check_unchanged(read: datetime | None, updated_at: datetime, noun: str = "workflow") -> None:
    """Raise `Conflict` where a caller read an older state than there is now."""
    if read is None or read == updated_at:
        return
    # JavaScript's dates keep milliseconds only.
    if read.microsecond % 1000 == 0 and read == updated_at.replace(microsecond=updated_at.microsecond // 1000 * 1000):
        return
    message = (
        f"The {noun} was changed at {updated_at.isoformat()}, after the state that you read. "
        "Read it again and repeat your change, or leave updated_at out."
    )
    raise errors.Conflict(message, errors=[{"loc": ["body", "updated_at"], "msg": message, "type": "conflict"}])


def slug_conflict(error: Violation, slug: str) -> errors.Conflict | None:
    """Return the answer where a slug was taken, None for any other violation."""
    if error.diag.constraint_name != queries.LIVE_SLUG:
        return None
    message = (
        f'A workflow with the slug "{slug}" exists already in this organization. '
        f"Choose another slug, or find that one with q=slug.eq:'{slug}' and PATCH it."
    )
    return errors.Conflict(message, errors=[{"loc": ["body", "slug"], "msg": message, "type": "conflict"}])


def invalid(field: str, message: str) -> errors.ValidationFailed:
    """Return the error about one field of the body."""
    return errors.ValidationFailed(
        f"body.{field}: {message}", errors=[{"loc": ["body", field], "msg": message, "type": "value_error"}]
    )


async def stored_rows(transaction: Transaction, workflow_id: UUID) -> StoredRows:
    """Read the rows of a workflow."""
    return StoredRows(
        tuple(await interface_queries.stored(transaction, InputRow, workflow_id)),
        tuple(await interface_queries.stored(transaction, OutputRow, workflow_id)),
    )


async def save_rows(
    transaction: Transaction, caller: Principal, workflow_id: UUID, before: StoredRows, settled: Settled
) -> bool:
    """Store the rows as they are settled; tell whether anything about them changed."""
    where = {"org_id": caller.org_id, "workflow_id": workflow_id}
    await interface_queries.save(transaction, InputRow, **where, before=before.inputs, merged=settled.inputs)
    await interface_queries.save(transaction, OutputRow, **where, before=before.outputs, merged=settled.outputs)
    return rows_changed(before, settled)


def rows_changed(before: StoredRows, settled: Settled) -> bool:
    """Tell whether anything about the rows of an interface changes."""
    return _by_id(settled.inputs.rows) != _by_id(before.inputs) or _by_id(settled.outputs.rows) != _by_id(
        before.outputs
    )


def _by_id(rows: Sequence[InputRow] | Sequence[OutputRow]) -> list[InputRow | OutputRow]:
    """Return rows in one order: the database gives them in any, and `sort_order` says which comes first."""
    return sorted(rows, key=lambda row: str(row.id))


async def add_version(
    transaction: Transaction,
    caller: Principal,
    current: WorkflowRow,
    *,
    documents: Mapping[str, str | None],
    settled: Settled | None = None,
    fingerprint: str | None = None,
    source: UUID | None = None,
) -> dict[str, Any]:
    """Store the next version of the locked workflow `current` and return what it changes in the workflow's row.

    A version that is being tested is superseded by it, whether it serves at once or is to be tested itself. What is not
    given is copied from the version `source`, by default the current one.
    """
    version_id, number = new_id(), await queries.last_number(transaction, current.id) + 1
    values: dict[str, Any] = {"id": version_id, "number": number, "created_by": caller.key_id}
    if settled is not None:
        values["interface"] = settled.frozen()
    if fingerprint is not None:
        values["fingerprint"] = fingerprint
    await queries.insert_next_version(transaction, source or current.version_id, values, documents)
    await version_sources.note(transaction, caller.org_id, version_id)
    await golden.supersede(transaction, current.id)
    return {"version_id": version_id, "version": str(number), "is_serving": True}
