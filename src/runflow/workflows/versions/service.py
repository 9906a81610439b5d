"""Rules of versions: only their owner reads them, of a deleted workflow too; going back makes a new one."""

import asyncio
from typing import Any
from uuid import UUID

import orjson

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.graph import GraphError, GraphWarning, find_warnings
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, check_projection, envelope, project, read_page
from runflow.web.services import Services
from runflow.workflows import queries as workflows
from runflow.workflows import queries as workflows_queries
from runflow.workflows import records, resources, writing
from runflow.workflows import warnings as workflows_warnings
from runflow.workflows.interface.declared import Settled, assemble, read_declared, workflow_invalid
from runflow.workflows.interface.rows import MANUAL, InputRow, OutputRow, StoredRows, restore, row_of_version
from runflow.workflows.queries import DOCUMENTS, size_of
from runflow.workflows.runtime import service as runtime
from runflow.workflows.service import TOPIC
from runflow.workflows.versions import queries
from runflow.workflows.versions import queries as versions
from runflow.workflows.versions.queries import VERSION_LIST, VersionWithTexts, name_of, number_of, record
from runflow.workflows.versions.schemas import Rollback


async def list_page(services: Services, caller: Principal, workflow_id: UUID, query: ListQuery) -> dict[str, Any]:
    """Return a page of the versions. Documents and interface are read only where `fields` names them.

    Raises `WorkflowNotFound`, InvalidFilter, InvalidSort, InvalidCursor or InvalidField.
    """
    texts = [name for name in queries.TEXTS if name in (query.fields or ())]
    base = queries.of_workflow(workflow_id, texts)
    async with services.db.listing(caller.org_id) as transaction:
        found = await read_page(
            transaction,
            VERSION_LIST,
            query,
            base,
            row=VersionWithTexts,
            short=not texts,
            size=(lambda row: size_of(row, texts)) if texts else None,
        )
        if not found.rows and not await workflows.is_there(transaction, workflow_id):
            raise errors.WorkflowNotFound
    return envelope(found, [project(record(row, texts), query) for row in found.rows])


async def get(
    services: Services, caller: Principal, workflow_id: UUID | None, version: str, query: RecordQuery
) -> dict[str, Any]:
    """Return one version with its documents, by its id, or of this workflow by its number as well.

    Raises `WorkflowNotFound`, `WorkflowVersionNotFound`, `InvalidField`.
    """
    check_projection(query, VERSION_LIST.response_fields, VERSION_LIST.embeds)
    texts = queries.TEXTS if query.fields is None else query.fields
    async with services.db.tenant(caller.org_id) as transaction:
        if workflow_id is not None and not await workflows.is_there(transaction, workflow_id):
            raise errors.WorkflowNotFound
        row = await queries.one(transaction, workflow_id, name_of(version, workflow_id), texts)
    if row is None:
        raise errors.WorkflowVersionNotFound
    return project(record(row, texts), query)


_NEEDED = ("workflow_json", "interface", "resources")


async def roll_back(services: Services, caller: Principal, workflow_id: UUID, body: Rollback) -> dict[str, Any]:
    """Make a new version with the content of an earlier one and return the workflow's record with `warnings`.

    The rows of the interface become exactly those that the earlier version froze. Raises `WorkflowNotFound`,
    `WorkflowVersionNotFound`.
    """
    number = number_of(body.version)
    async with services.db.tenant(caller.org_id) as transaction:
        current = await writing.locked(transaction, workflow_id)
        wanted = await versions.one(transaction, workflow_id, number, _NEEDED)
        if wanted is None:
            raise errors.WorkflowVersionNotFound
        before = await writing.stored_rows(transaction, workflow_id)
        # A large graph takes its time to check; the loop serves others meanwhile.
        settled, warnings = await asyncio.to_thread(_restored, wanted, before, current.version)
        warnings += await resources.warnings(transaction, orjson.loads(wanted.resources or "null"))
        await writing.save_rows(transaction, caller, workflow_id, before, settled)
        version = await writing.add_version(transaction, caller, current, documents={}, source=wanted.id)
        await workflows_queries.update(transaction, workflow_id, version)
        details = {"to": str(number), "version": version["version"]}
        await recorder.record(
            transaction, caller, "comfyui_workflow.rolled_back", "comfyui_workflow", workflow_id, details
        )
        row = await workflows_queries.one_record(transaction, caller.org_id, DOCUMENTS, key=workflow_id)
        if row is None:
            raise errors.WorkflowNotFound
        found = await records.complete(transaction, [row], caller.org_slug, records.WHOLE)
    services.hub.publish(TOPIC, str(workflow_id))
    outlook = await runtime.outlook(services, caller.org_id, workflow_id)
    told = workflows_warnings.answered((*outlook.warnings, *warnings))
    return {**found[0], "can_run": outlook.can_run, "warnings": told}


def _restored(wanted: VersionWithTexts, before: StoredRows, latest: str) -> tuple[Settled, list[GraphWarning]]:
    declared = read_declared(orjson.loads(wanted.workflow_json or "null"))
    frozen = orjson.loads(wanted.interface or "{}")
    inputs = restore([row_of_version(InputRow, row) for row in frozen["inputs"]], declared.inputs, before.inputs)
    outputs = restore([row_of_version(OutputRow, row) for row in frozen["outputs"]], declared.outputs, before.outputs)
    lost: tuple[InputRow | OutputRow, ...] = (*inputs.dropped, *outputs.dropped)
    warnings = [_lost(row, wanted.number, latest) for row in lost if row.origin == MANUAL and not row.deleted]
    try:
        settled = assemble(declared.prompt, inputs, outputs)
    except GraphError as error:
        raise workflow_invalid(error) from None
    return settled, [*warnings, *find_warnings(declared.prompt, settled.interface)]


def _lost(row: InputRow | OutputRow, number: int, latest: str) -> GraphWarning:
    noun = "input" if isinstance(row, InputRow) else "output"
    return GraphWarning(
        row.comfyui_node_id,
        f'The {noun} "{row.name}", which was added by hand, was no part of version {number}; it was removed.',
        f"Add it again if callers still need it; version {latest} has it.",
    )
