"""Adding, changing and removing one input or output: each change makes the next version of the workflow."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow import errors
from runflow.audit import recorder
from runflow.graph import GraphError, GraphWarning, Prompt, find_warnings
from runflow.ids import new_id
from runflow.services import Services
from runflow.web.auth import Principal
from runflow.workflows import advice, interface_queries, queries, revision
from runflow.workflows.definitions.listing import INPUTS, Kind
from runflow.workflows.definitions.schemas import (
    Definition,
    InputChange,
    InputDefinition,
    OutputChange,
    OutputDefinition,
)
from runflow.workflows.interface import Settled, assemble, interface_of
from runflow.workflows.interface_rows import Merged, Row
from runflow.workflows.overrides import Fault, change, override
from runflow.workflows.record import interface_record
from runflow.workflows.revision import StoredRows
from runflow.workflows.service import TOPIC
from runflow.workflows.writing import check_unchanged, locked


@dataclass(frozen=True, slots=True)
class _Changed(Generic[Row]):
    """All rows of the kind after the change, and the one that it is about."""

    rows: tuple[Row, ...]
    about: Row


_Work = Callable[[tuple[Row, ...], Prompt], _Changed[Row]]


async def create(
    services: Services,
    caller: Principal,
    kind: Kind[Row],
    workflow_id: UUID,
    body: InputDefinition | OutputDefinition,
) -> dict[str, Any]:
    """Add a row and return it with `warnings`. The name of a node's row that was deleted by hand brings that one back.

    Raises `WorkflowNotFound`, `ValidationFailed`, or `Conflict` where there is a row of that name.
    """
    item = body.stated()

    def work(rows: tuple[Row, ...], prompt: Prompt) -> _Changed[Row]:
        alive = {row.id for row in rows if not row.deleted}
        node = item.get("comfyui_node_id")
        for row in rows:
            same_node = kind.noun == INPUTS.noun or node in (None, row.comfyui_node_id)
            if row.id in alive and row.name == item["name"] and same_node:
                raise _taken(kind, row)
        stated, faults = override(kind.row, rows, [item], prompt)
        _refuse(faults)
        named = tuple(replace(row, id=new_id()) if row.id is None else row for row in stated)
        return _Changed(named, next(row for row in named if not row.deleted and row.id not in alive))

    return await _write(services, caller, kind, workflow_id, work, "created", body)


async def patch(
    services: Services,
    caller: Principal,
    kind: Kind[Row],
    workflow_id: UUID,
    row_id: UUID,
    body: InputChange | OutputChange,
) -> dict[str, Any]:
    """Change a row and return it with `warnings`; a change that changes nothing makes no version.

    Raises `WorkflowNotFound`, `WorkflowInputNotFound`, `WorkflowOutputNotFound`, `ValidationFailed`, or `Conflict`
    (another row has the name, an old `updated_at`).
    """
    item = body.stated()

    def work(rows: tuple[Row, ...], prompt: Prompt) -> _Changed[Row]:
        row = _find(kind, rows, row_id)
        if row.deleted:
            raise kind.not_found
        changed, faults = change(row, item, prompt)
        _refuse(faults)
        for other in rows:
            if other.id != row_id and not other.deleted and other.key == changed.key:
                raise _taken(kind, other)
        return _Changed(tuple(changed if row.id == row_id else row for row in rows), changed)

    async def unchanged_since(connection: AsyncConnection) -> None:
        statement = interface_queries.of_workflow(kind.row, caller.org_id, workflow_id)
        row = await interface_queries.one(connection, statement, row_id)
        if row is not None:
            check_unchanged(body.updated_at, row.updated_at, kind.noun)

    return await _write(services, caller, kind, workflow_id, work, "updated", body, unchanged_since)


async def delete(services: Services, caller: Principal, kind: Kind[Row], workflow_id: UUID, row_id: UUID) -> None:
    """Remove a row; doing it again changes nothing. A node's row stays away until its node has another id.

    Raises `WorkflowNotFound`, `WorkflowInputNotFound` or `WorkflowOutputNotFound`.
    """

    def work(rows: tuple[Row, ...], _prompt: Prompt) -> _Changed[Row]:
        gone = replace(_find(kind, rows, row_id), deleted=True)
        return _Changed(tuple(gone if row.id == row_id else row for row in rows), gone)

    await _write(services, caller, kind, workflow_id, work, "deleted")


async def _write(
    services: Services,
    caller: Principal,
    kind: Kind[Row],
    workflow_id: UUID,
    work: _Work[Row],
    verb: str,
    body: Definition | None = None,
    check: Callable[[AsyncConnection], Any] | None = None,
) -> dict[str, Any]:
    async with services.db.tenant(caller.org_id) as connection:
        current = await locked(connection, workflow_id)
        if check is not None:
            await check(connection)
        before = await revision.stored_rows(connection, workflow_id)
        stored = await queries.version_texts(connection, current.version_id, ["workflow_json"])
        # A large graph takes its time to check; the loop serves others meanwhile.
        about, settled, warnings = await asyncio.to_thread(_settle, kind, before, stored["workflow_json"], work)
        is_changed = await revision.save_rows(connection, caller, workflow_id, before, settled)
        if is_changed:
            version = await revision.add_version(connection, caller, current, documents={}, settled=settled)
            await queries.update(connection, workflow_id, version)
            target = f"comfyui_workflow_{kind.noun}"
            details = {"comfyui_workflow_id": str(workflow_id), "name": about.name, "version": version["version"]}
            await recorder.record(connection, caller, f"{target}.{verb}", target, about.id, details)
        row = None
        if about.id is not None and not about.deleted:
            statement = interface_queries.of_workflow(kind.row, caller.org_id, workflow_id)
            row = await interface_queries.one(connection, statement, about.id)
    if is_changed:
        services.hub.publish(TOPIC, str(workflow_id))
    record = {} if row is None else interface_record(row, kind.record)
    if body is not None:
        warnings += advice.about_fields(body)
    return {**record, "warnings": advice.answered(warnings)}


def _settle(
    kind: Kind[Row], before: StoredRows, workflow_json: str | None, work: _Work[Row]
) -> tuple[Row, Settled, list[GraphWarning]]:
    """Return the row it is about, the rows as they become, and the warnings that there were none of before."""
    prompt: Prompt = orjson.loads(workflow_json or "{}")
    changed = work(kind.rows_of(before), prompt)
    rows: Any = changed.rows
    inputs, outputs = (rows, before.outputs) if kind.noun == INPUTS.noun else (before.inputs, rows)
    try:
        settled = assemble(prompt, Merged(inputs), Merged(outputs))
    except GraphError as error:
        _refuse([Fault(0, "comfyui_node_id", str(problem)) for problem in error.problems])
        raise
    known = set(find_warnings(prompt, interface_of(before.inputs, before.outputs)))
    return changed.about, settled, [warning for warning in settled.warnings if warning not in known]


def _find(kind: Kind[Row], rows: tuple[Row, ...], row_id: UUID) -> Row:
    for row in rows:
        if row.id == row_id:
            return row
    raise kind.not_found


def _refuse(faults: list[Fault]) -> None:
    if faults:
        details = [{"loc": ["body", fault.field], "msg": fault.message, "type": "interface_row"} for fault in faults]
        raise errors.ValidationFailed(faults[0].message, errors=details[:100])


def _taken(kind: Kind[Row], row: Row) -> errors.Conflict:
    message = (
        f'There is an {kind.noun} "{row.name}" already, with the id {row.id}. PATCH that one, or use another name.'
    )
    return errors.Conflict(message, errors=[{"loc": ["body", "name"], "msg": message, "type": "conflict"}])
