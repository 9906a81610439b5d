"""Rules of single inputs and outputs: reading them, and changing them, which makes the next version of the workflow."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Generic
from uuid import UUID

import orjson
from sqlalchemy import Select

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.db.transaction import Transaction
from runflow.graph import GraphError, GraphWarning, Prompt, find_warnings
from runflow.ids import new_id
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, Page, RecordQuery, check_projection, envelope, project, read_page
from runflow.web.services import Services
from runflow.workflows import public, writing
from runflow.workflows import queries as workflows_queries
from runflow.workflows import warnings as workflows_warnings
from runflow.workflows.golden import service as golden
from runflow.workflows.interface import queries
from runflow.workflows.interface.declared import Settled, assemble, interface_of
from runflow.workflows.interface.overrides import Fault, change, override
from runflow.workflows.interface.queries import INPUTS, Kind
from runflow.workflows.interface.rows import EitherRow, Merged, StoredRows
from runflow.workflows.interface.schemas import Definition, InputChange, InputDefinition, OutputChange, OutputDefinition
from runflow.workflows.records import interface_record
from runflow.workflows.service import TOPIC
from runflow.workflows.tables import DefinitionRow
from runflow.workflows.writing import check_unchanged, locked

ROWS_AT_ONCE = 16
"""How many rows the database sends before their size is looked at."""


FORM_ORDER = "sort_order:asc"
"""The default order of the rows of one workflow. Those of several have no form in common: newest first."""


async def list_page(
    services: Services, caller: Principal, kind: Kind[EitherRow], workflow_id: UUID | None, query: ListQuery
) -> dict[str, Any]:
    """Return a page of the rows of a workflow, own (deleted or not) or public; None: of all own live workflows.

    Raises `WorkflowNotFound`, InvalidFilter, InvalidSort, InvalidCursor or InvalidField.
    """
    found = await _read(services, caller, kind, workflow_id, query)
    shown = [interface_record(row, kind.record, is_own=row.org_id == caller.org_id) for row in found.rows]
    return envelope(found, [project(record, query) for record in shown])


async def _read(
    services: Services, caller: Principal, kind: Kind[EitherRow], workflow_id: UUID | None, query: ListQuery
) -> Page[DefinitionRow]:
    if workflow_id is not None and query.sort_by is None:
        query = replace(query, sort_by=FORM_ORDER)

    async def read(transaction: Transaction, base: Select[Any]) -> Page[DefinitionRow]:
        # A default may be a megabyte of text.
        row = queries.stored_as(kind.row)
        return await read_page(transaction, kind.spec, query, base, row=row, size=queries.size_of, at_once=ROWS_AT_ONCE)

    async with services.db.listing(caller.org_id) as transaction:
        if workflow_id is None:
            return await read(transaction, queries.of_all(kind.row, caller.org_id))
        if await workflows_queries.is_there(transaction, workflow_id):
            return await read(transaction, queries.of_workflow(kind.row, caller.org_id, workflow_id))
    return await public.definitions(services, kind.row, workflow_id, read)


async def get(
    services: Services,
    caller: Principal,
    kind: Kind[EitherRow],
    workflow_id: UUID | None,
    row_id: UUID,
    query: RecordQuery,
) -> dict[str, Any]:
    """Return one row of a workflow, own or public; None: of any own live workflow.

    Raises `WorkflowNotFound`, `WorkflowInputNotFound`, `WorkflowOutputNotFound` or `InvalidField`.
    """
    check_projection(query, kind.spec.response_fields, kind.spec.embeds)
    is_own = True
    async with services.db.tenant(caller.org_id) as transaction:
        if workflow_id is None:
            base = queries.of_all(kind.row, caller.org_id)
        else:
            base = queries.of_workflow(kind.row, caller.org_id, workflow_id)
            is_own = await workflows_queries.is_there(transaction, workflow_id)
        row = await queries.one(transaction, kind.row, base, row_id)
    if not is_own and workflow_id is not None:
        row = await public.definitions(
            services, kind.row, workflow_id, lambda opened, base: queries.one(opened, kind.row, base, row_id)
        )
    if row is None:
        raise kind.not_found
    return project(interface_record(row, kind.record, is_own=row.org_id == caller.org_id), query)


@dataclass(frozen=True, slots=True)
class _Changed(Generic[EitherRow]):
    """All rows of the kind after the change, and the one that it is about."""

    rows: tuple[EitherRow, ...]
    about: EitherRow


_Work = Callable[[tuple[EitherRow, ...], Prompt], _Changed[EitherRow]]


async def create(
    services: Services,
    caller: Principal,
    kind: Kind[EitherRow],
    workflow_id: UUID,
    body: InputDefinition | OutputDefinition,
) -> dict[str, Any]:
    """Add a row and return it with `warnings`. The name of a node's row that was deleted by hand brings that one back.

    Raises `WorkflowNotFound`, `ValidationFailed`, or `Conflict` where there is a row of that name.
    """
    item = body.stated()

    def work(rows: tuple[EitherRow, ...], prompt: Prompt) -> _Changed[EitherRow]:
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
    kind: Kind[EitherRow],
    workflow_id: UUID | None,
    row_id: UUID,
    body: InputChange | OutputChange,
) -> dict[str, Any]:
    """Change a row and return it with `warnings`; a change that changes nothing makes no version.

    Without `workflow_id` the row may be of any live workflow.

    Raises `WorkflowNotFound`, `WorkflowInputNotFound`, `WorkflowOutputNotFound`, `ValidationFailed`, or `Conflict`
    (another row has the name, an old `updated_at`).
    """
    item = body.stated()
    of = workflow_id or await _workflow_of(services, caller, kind, row_id)

    def work(rows: tuple[EitherRow, ...], prompt: Prompt) -> _Changed[EitherRow]:
        row = _find(kind, rows, row_id)
        if row.deleted:
            raise kind.not_found
        changed, faults = change(row, item, prompt)
        _refuse(faults)
        for other in rows:
            if other.id != row_id and not other.deleted and other.key == changed.key:
                raise _taken(kind, other)
        return _Changed(tuple(changed if row.id == row_id else row for row in rows), changed)

    async def unchanged_since(transaction: Transaction) -> None:
        statement = queries.of_workflow(kind.row, caller.org_id, of)
        row = await queries.one(transaction, kind.row, statement, row_id)
        if row is not None:
            check_unchanged(body.updated_at, row.updated_at, kind.noun)

    return await _write(services, caller, kind, of, work, "updated", body, unchanged_since)


async def delete(
    services: Services, caller: Principal, kind: Kind[EitherRow], workflow_id: UUID | None, row_id: UUID
) -> None:
    """Remove a row; doing it again changes nothing. A node's row stays away until its node has another id.

    Without `workflow_id` the row may be of any live workflow.

    Raises `WorkflowNotFound`, `WorkflowInputNotFound` or `WorkflowOutputNotFound`.
    """

    def work(rows: tuple[EitherRow, ...], _prompt: Prompt) -> _Changed[EitherRow]:
        gone = replace(_find(kind, rows, row_id), deleted=True)
        return _Changed(tuple(gone if row.id == row_id else row for row in rows), gone)

    of = workflow_id or await _workflow_of(services, caller, kind, row_id)
    await _write(services, caller, kind, of, work, "deleted")


async def _workflow_of(services: Services, caller: Principal, kind: Kind[EitherRow], row_id: UUID) -> UUID:
    async with services.db.tenant(caller.org_id) as transaction:
        found = await queries.workflow_of(transaction, kind.row, row_id)
    if found is None:
        raise kind.not_found
    return found


async def _write(
    services: Services,
    caller: Principal,
    kind: Kind[EitherRow],
    workflow_id: UUID,
    work: _Work[EitherRow],
    verb: str,
    body: Definition | None = None,
    check: Callable[[Transaction], Awaitable[None]] | None = None,
) -> dict[str, Any]:
    async with services.db.tenant(caller.org_id) as transaction:
        current = await locked(transaction, workflow_id)
        if check is not None:
            await check(transaction)
        before = await writing.stored_rows(transaction, workflow_id)
        stored = await workflows_queries.version_texts(transaction, current.version_id, ["workflow_json"])
        # A large graph takes its time to check; the loop serves others meanwhile.
        about, settled, warnings = await asyncio.to_thread(_settle, kind, before, stored.workflow_json, work)
        is_changed = await writing.save_rows(transaction, caller, workflow_id, before, settled)
        if is_changed:
            version = await writing.add_version(transaction, caller, current, documents={}, settled=settled)
            await workflows_queries.update(transaction, workflow_id, version)
            target = f"comfyui_workflow_{kind.noun}"
            details = {"comfyui_workflow_id": str(workflow_id), "name": about.name, "version": version["version"]}
            await recorder.record(transaction, caller, f"{target}.{verb}", target, about.id, details)
        row = None
        if about.id is not None and not about.deleted:
            statement = queries.of_workflow(kind.row, caller.org_id, workflow_id)
            row = await queries.one(transaction, kind.row, statement, about.id)
    if is_changed:
        services.hub.publish(TOPIC, str(workflow_id))
        services.hub.publish(golden.TOPIC)
    record = {} if row is None else interface_record(row, kind.record, is_own=True)
    if body is not None:
        warnings += workflows_warnings.about_fields(body)
    return {**record, "warnings": workflows_warnings.answered(warnings)}


def _settle(
    kind: Kind[EitherRow], before: StoredRows, workflow_json: str | None, work: _Work[EitherRow]
) -> tuple[EitherRow, Settled, list[GraphWarning]]:
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


def _find(kind: Kind[EitherRow], rows: tuple[EitherRow, ...], row_id: UUID) -> EitherRow:
    for row in rows:
        if row.id == row_id:
            return row
    raise kind.not_found


def _refuse(faults: list[Fault]) -> None:
    if faults:
        details = [{"loc": ["body", fault.field], "msg": fault.message, "type": "interface_row"} for fault in faults]
        raise errors.ValidationFailed(faults[0].message, errors=details[:100])


def _taken(kind: Kind[EitherRow], row: EitherRow) -> errors.Conflict:
    message = (
        f'There is an {kind.noun} "{row.name}" already, with the id {row.id}. PATCH that one, or use another name.'
    )
    return errors.Conflict(message, errors=[{"loc": ["body", "name"], "msg": message, "type": "conflict"}])
