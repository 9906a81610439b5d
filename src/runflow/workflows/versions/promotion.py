"""How a version that is stored comes to serve: the rows of the interface become those that it froze."""

import asyncio
from uuid import UUID

import orjson

from runflow import errors
from runflow.db.transaction import Transaction
from runflow.graph import GraphError, GraphWarning, find_warnings
from runflow.web.auth import Principal
from runflow.workflows import queries as workflows
from runflow.workflows import writing
from runflow.workflows.interface.declared import Settled, assemble, read_declared, workflow_invalid
from runflow.workflows.interface.rows import MANUAL, InputRow, OutputRow, StoredRows, restore, row_of_version
from runflow.workflows.tables import WorkflowRow
from runflow.workflows.versions import queries
from runflow.workflows.versions.queries import VersionWithTexts

NEEDED = ("workflow_json", "interface", "resources")
"""The documents that `restored` reads."""


async def switch(
    transaction: Transaction, caller: Principal, current: WorkflowRow, version_id: UUID, number: int
) -> None:
    """Let this version of the locked workflow `current` serve. Publish the hint about the workflow after the commit.

    Raises `WorkflowVersionNotFound`.
    """
    if version_id != current.version_id:
        wanted = await queries.one(transaction, current.id, version_id, NEEDED)
        if wanted is None:
            raise errors.WorkflowVersionNotFound
        before = await writing.stored_rows(transaction, current.id)
        # A large graph takes its time to check; the loop serves others meanwhile.
        settled, _ = await asyncio.to_thread(restored, wanted, before, current.version)
        await writing.save_rows(transaction, caller, current.id, before, settled)
    await workflows.update(
        transaction, current.id, {"version_id": version_id, "version": str(number), "is_serving": True}
    )


def restored(wanted: VersionWithTexts, before: StoredRows, latest: str) -> tuple[Settled, list[GraphWarning]]:
    """Return the rows that a version froze, and warnings about those of today, of version `latest`, that go. Pure.

    Raises `WorkflowInvalid`.
    """
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
