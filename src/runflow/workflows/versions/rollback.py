"""Going back: a new version with the content of an earlier one, and the rows of its interface as they were then."""

import asyncio
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row

from runflow import errors
from runflow.audit import recorder
from runflow.graph import GraphError, GraphWarning, find_warnings
from runflow.services import Services
from runflow.web.auth import Principal
from runflow.workflows import advice, queries, record, resources, revision, writing
from runflow.workflows.documents import DOCUMENTS
from runflow.workflows.interface import Settled, assemble, read_declared, workflow_invalid
from runflow.workflows.interface_rows import MANUAL, InputRow, OutputRow, restore, row_of_version
from runflow.workflows.revision import StoredRows
from runflow.workflows.service import TOPIC
from runflow.workflows.versions import queries as versions
from runflow.workflows.versions.listing import number_of
from runflow.workflows.versions.schemas import Rollback

_NEEDED = ("workflow_json", "interface", "resources")


async def roll_back(services: Services, caller: Principal, workflow_id: UUID, body: Rollback) -> dict[str, Any]:
    """Make a new version with the content of an earlier one and return the workflow's record with `warnings`.

    The rows of the interface become exactly those that the earlier version froze. Raises `WorkflowNotFound`,
    `WorkflowVersionNotFound`.
    """
    number = number_of(body.version)
    async with services.db.tenant(caller.org_id) as connection:
        current = await writing.locked(connection, workflow_id)
        wanted = await versions.by_number(connection, workflow_id, number, _NEEDED)
        if wanted is None:
            raise errors.WorkflowVersionNotFound
        before = await revision.stored_rows(connection, workflow_id)
        # A large graph takes its time to check; the loop serves others meanwhile.
        settled, warnings = await asyncio.to_thread(_restored, wanted, before, current.version)
        warnings += await resources.warnings(connection, orjson.loads(wanted.resources or "null"))
        await revision.save_rows(connection, caller, workflow_id, before, settled)
        version = await revision.add_version(connection, caller, current, documents={}, source=wanted.id)
        await queries.update(connection, workflow_id, version)
        details = {"to": str(number), "version": version["version"]}
        await recorder.record(
            connection, caller, "comfyui_workflow.rolled_back", "comfyui_workflow", workflow_id, details
        )
        row = await queries.one_record(connection, caller.org_id, DOCUMENTS, key=workflow_id)
        if row is None:
            raise errors.WorkflowNotFound
        found = await record.complete(connection, [row], caller.org_slug, record.WHOLE)
    services.hub.publish(TOPIC, str(workflow_id))
    return {**found[0], "warnings": advice.answered(warnings)}


def _restored(wanted: Row[Any], before: StoredRows, latest: str) -> tuple[Settled, list[GraphWarning]]:
    declared = read_declared(orjson.loads(wanted.workflow_json))
    frozen = orjson.loads(wanted.interface)
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
