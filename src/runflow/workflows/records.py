"""From rows to the records of the wire (docs/api/workflows.md)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from runflow.db.transaction import Transaction
from runflow.graph import node_order
from runflow.workflows import queries as workflows_queries
from runflow.workflows.golden import service as golden_runs
from runflow.workflows.interface import queries
from runflow.workflows.interface.rows import InputRow, OutputRow
from runflow.workflows.interface.schemas import WorkflowInput, WorkflowOutput
from runflow.workflows.queries import DOCUMENTS, Version, fragment
from runflow.workflows.tables import DefinitionRow, WorkflowInputRow, WorkflowRow

OWN_FIELDS = (
    "id", "org_id", "owner", "slug", "path", "name", "description", "version", "is_serving", "is_public", "status_code",
    "category_code", "gpu_mode", "gpu_explicit_models", "worker_labels", "timeout_seconds", "max_running",
    "auto_evaluate", "evaluation_task_type", "created_by", "created_at", "updated_at", "deleted_at", "deleted_by",
)  # fmt: skip
"""The workflow's own fields, in the order in which a record has them."""

EMBEDS = frozenset({"inputs", "outputs", "gpu_explicit_models", "versions"})
RECORD_FIELDS = frozenset({*OWN_FIELDS, *DOCUMENTS, "inputs", "outputs", "golden_run"})
"""What `fields` may name."""
WHOLE = frozenset({*DOCUMENTS, "inputs", "outputs", "golden_run"})
"""What a single record carries beside the workflow's own fields."""

MAX_VERSIONS = 100
"""Newest versions that `embed=versions` gives per workflow."""


def documents_of(parts: Collection[str]) -> list[str]:
    """Return which of these parts are documents, and so columns of the row."""
    return [name for name in DOCUMENTS if name in parts]


async def complete(
    transaction: Transaction,
    rows: Sequence[WorkflowRow],
    owner: str,
    parts: Collection[str],
    *,
    is_own: bool = True,
) -> list[dict[str, Any]]:
    """Return the records of these rows, with these parts: documents, inputs, outputs, versions, golden.

    Documents must be fields of the rows (`WorkflowWithDocuments`); the other parts are read here, one statement for
    all rows. `is_own`: the caller belongs to their organization.
    """
    ids = [row.id for row in rows]
    inputs = outputs = versions = None
    if ids and "inputs" in parts:
        inputs = _by_workflow(await queries.shown(transaction, InputRow, ids), WorkflowInput, is_own=is_own)
    if ids and "outputs" in parts:
        outputs = _by_workflow(await queries.shown(transaction, OutputRow, ids), WorkflowOutput, is_own=is_own)
    if ids and "versions" in parts:
        found = await workflows_queries.versions_of(transaction, ids, MAX_VERSIONS)
        current = {row.version_id for row in rows if row.is_serving}
        versions = _versions(
            found, current, await golden_runs.latest_by_version(transaction, [row.id for row in found])
        )
    tested = await golden_runs.latest(transaction, ids) if ids and is_own and "golden_run" in parts else None
    records = []
    for row in rows:
        path = {"owner": owner, "path": f"{owner}/{row.slug}"}
        record = {name: path[name] if name in path else getattr(row, name) for name in OWN_FIELDS}
        record |= {name: fragment(getattr(row, name)) for name in DOCUMENTS if name in parts}
        for name, listed in (("inputs", inputs), ("outputs", outputs), ("versions", versions)):
            if listed is not None:
                record[name] = listed.get(row.id, [])
        if tested is not None:
            record["golden_run"] = tested.get(row.id)
        records.append(record)
    return records


def interface_record(row: DefinitionRow, kind: type[BaseModel], *, is_own: bool) -> dict[str, Any]:
    """Return an input or output as the wire shows it: of an optional input the default that a run really uses."""
    record = {name: getattr(row, name) for name in kind.model_fields}
    if isinstance(row, WorkflowInputRow) and row.default_value is None:
        record["default_value"] = row.effective_default if is_own else told_to_others(row.effective_default)
    return record


def told_to_others(effective_default: Any) -> Any:
    """Return what other organizations may know of a value that a public workflow's prompt holds: no texts.

    Its owner wrote those into a node, not into the interface; a key or an internal name may be among them.
    """
    return None if isinstance(effective_default, str) else effective_default


def version_record(row: Version, *, is_current: bool, golden_run: dict[str, Any] | None) -> dict[str, Any]:
    """Return a version without its documents, with the record of its latest golden run."""
    return {
        "id": row.id,
        "comfyui_workflow_id": row.workflow_id,
        "version": str(row.number),
        "is_current": is_current,
        "fingerprint": row.fingerprint,
        "created_by": row.created_by,
        "created_at": row.created_at,
        "golden_run": golden_run,
    }


def _by_workflow(
    rows: Iterable[DefinitionRow], kind: type[BaseModel], *, is_own: bool
) -> dict[UUID, list[dict[str, Any]]]:
    found: dict[UUID, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row.sort_order, node_order(row.comfyui_node_id), row.name)):
        found.setdefault(row.comfyui_workflow_id, []).append(interface_record(row, kind, is_own=is_own))
    return found


def _versions(
    rows: Iterable[Version], current: Collection[UUID], tested: Mapping[UUID, dict[str, Any]]
) -> dict[UUID, list[dict[str, Any]]]:
    found: dict[UUID, list[dict[str, Any]]] = {}
    for row in rows:
        record = version_record(row, is_current=row.id in current, golden_run=tested.get(row.id))
        found.setdefault(row.workflow_id, []).append(record)
    return found
