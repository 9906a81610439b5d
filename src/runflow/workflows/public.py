"""Public workflows of other organizations: the one place that reads them, with a narrow selection.

A public, active workflow that is not deleted can be read and dispatched by everyone (docs/api/workflows.md,
"Public workflows"). Row-level security does not know that, on purpose: requests stay inside their organization, and
only these functions look beyond. Each raises `WorkflowNotFound` for what is private, disabled, deleted or not there.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Select

from runflow import errors
from runflow.db.transaction import Transaction
from runflow.web.lists import RecordQuery, check_projection, project
from runflow.web.services import Services
from runflow.workflows import public_queries, records
from runflow.workflows.interface import queries
from runflow.workflows.interface.rows import InputRow, OutputRow
from runflow.workflows.public_queries import NamedWorkflow, Path, PublicWorkflow
from runflow.workflows.queries import DescribedWorkflow, WorkflowToRun

Found = TypeVar("Found")

EMBEDS = records.EMBEDS - {"versions"}
"""What `embed` may name: versions hold what is the owner's own."""


async def get(services: Services, key: UUID | Path, query: RecordQuery) -> dict[str, Any]:
    """Return the record: without the documents, and without who made it. Raises `InvalidField` too."""
    async with _opened(services, key) as (transaction, row):
        check_projection(query, records.RECORD_FIELDS, EMBEDS)
        parts = {"inputs", "outputs"} if query.fields is None else {*query.fields} & {"inputs", "outputs"}
        found = await records.complete(transaction, [row], row.owner, parts | {*query.embed}, is_own=False)
    return project(found[0], query)


async def definitions(
    services: Services,
    kind: type[InputRow] | type[OutputRow],
    workflow_id: UUID,
    read: Callable[[Transaction, Select[Any]], Awaitable[Found]],
) -> Found:
    """Return what `read` makes of the statement for all rows of the interface."""
    async with _opened(services, workflow_id) as (transaction, row):
        return await read(transaction, queries.of_workflow(kind, row.org_id, workflow_id))


async def dispatch_row(services: Services, path: Path) -> WorkflowToRun:
    """Return what a dispatch needs of the workflow."""
    async with services.db.system(durable=False) as transaction:
        row = await public_queries.dispatch_row(transaction, path)
    if row is None:
        raise errors.WorkflowNotFound
    return row


async def described(services: Services, path: Path) -> DescribedWorkflow:
    """Return what the workflow's OpenAPI document tells."""
    async with services.db.system(durable=False) as transaction:
        row = await public_queries.described(transaction, path)
    if row is None:
        raise errors.WorkflowNotFound
    inputs = [
        {**each, "effective_default": records.told_to_others(each.get("effective_default"))}
        for each in row.interface["inputs"]
    ]
    return replace(row, interface={**row.interface, "inputs": inputs})


async def run_by(services: Services, org_id: UUID) -> list[NamedWorkflow]:
    """Return id and slug of the other organizations' workflows that this organization has run. Raises nothing."""
    async with services.db.system(durable=False) as transaction:
        return await public_queries.run_by(transaction, org_id)


@asynccontextmanager
async def _opened(services: Services, key: UUID | Path) -> AsyncIterator[tuple[Transaction, PublicWorkflow]]:
    async with services.db.system(durable=False) as transaction:
        row = await public_queries.one_record(transaction, key)
        if row is None:
            raise errors.WorkflowNotFound
        yield transaction, row
