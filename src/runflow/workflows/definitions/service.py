"""Reading the inputs and outputs of a workflow. Changing them has a file of its own."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row as DatabaseRow
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.services import Services
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, Page, RecordQuery, check_projection, envelope, project, read_bounded
from runflow.workflows import interface_queries, public, queries
from runflow.workflows.definitions.listing import Kind
from runflow.workflows.interface_rows import Row
from runflow.workflows.record import interface_record

ROWS_AT_ONCE = 16
"""How many rows the database sends before their size is looked at."""


async def list_page(
    services: Services, caller: Principal, kind: Kind[Row], workflow_id: UUID | None, query: ListQuery
) -> dict[str, Any]:
    """Return a page of the rows of a workflow, own (deleted or not) or public; None: of all own live workflows.

    Raises `WorkflowNotFound`, InvalidFilter, InvalidSort, InvalidCursor or InvalidField.
    """
    found = await _read(services, caller, kind, workflow_id, query)
    return envelope(found, [project(interface_record(row, kind.record), query) for row in found.rows])


async def _read(
    services: Services, caller: Principal, kind: Kind[Row], workflow_id: UUID | None, query: ListQuery
) -> Page[DatabaseRow[Any]]:
    async def read(connection: AsyncConnection, base: Any) -> Page[DatabaseRow[Any]]:
        # A default may be a megabyte of text.
        return await read_bounded(connection, kind.spec, query, base, interface_queries.size_of, ROWS_AT_ONCE)

    async with services.db.tenant(caller.org_id) as connection:
        if workflow_id is None:
            return await read(connection, interface_queries.of_all(kind.row, caller.org_id))
        if await queries.is_there(connection, workflow_id):
            return await read(connection, interface_queries.of_workflow(kind.row, caller.org_id, workflow_id))
    return await public.definitions(services, kind.row, workflow_id, read)


async def get(
    services: Services, caller: Principal, kind: Kind[Row], workflow_id: UUID | None, row_id: UUID, query: RecordQuery
) -> dict[str, Any]:
    """Return one row of a workflow, own or public; None: of any own live workflow.

    Raises `WorkflowNotFound`, `WorkflowInputNotFound`, `WorkflowOutputNotFound` or `InvalidField`.
    """
    check_projection(query, kind.spec.response_fields, kind.spec.embeds)
    is_own = True
    async with services.db.tenant(caller.org_id) as connection:
        if workflow_id is None:
            base = interface_queries.of_all(kind.row, caller.org_id)
        else:
            base = interface_queries.of_workflow(kind.row, caller.org_id, workflow_id)
            is_own = await queries.is_there(connection, workflow_id)
        row = await interface_queries.one(connection, base, row_id)
    if not is_own and workflow_id is not None:
        row = await public.definitions(
            services, kind.row, workflow_id, lambda opened, base: interface_queries.one(opened, base, row_id)
        )
    if row is None:
        raise kind.not_found
    return project(interface_record(row, kind.record), query)
