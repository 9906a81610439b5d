"""Reading the inputs and outputs of a workflow. Changing them has a file of its own."""

from typing import Any
from uuid import UUID

from runflow.services import Services
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, build, check_projection, envelope, page, project
from runflow.workflows import interface_queries, public, queries
from runflow.workflows.definitions.listing import Kind
from runflow.workflows.interface_rows import Row
from runflow.workflows.record import interface_record


async def list_page(
    services: Services, caller: Principal, kind: Kind[Row], workflow_id: UUID | None, query: ListQuery
) -> dict[str, Any]:
    """Return a page of the rows of a workflow, own (deleted or not) or public; None: of all own live workflows.

    Raises `WorkflowNotFound`, InvalidFilter, InvalidSort, InvalidCursor or InvalidField.
    """
    rows = None
    async with services.db.tenant(caller.org_id) as connection:
        if workflow_id is None:
            base = interface_queries.of_all(kind.row, caller.org_id)
            rows = await queries.rows(connection, build(kind.spec, query, base))
        elif await queries.is_there(connection, workflow_id):
            base = interface_queries.of_workflow(kind.row, caller.org_id, workflow_id)
            rows = await queries.rows(connection, build(kind.spec, query, base))
    if rows is None and workflow_id is not None:
        rows = await public.definitions(services, kind.row, workflow_id, lambda base: build(kind.spec, query, base))
    found = page(kind.spec, query, rows or [])
    return envelope(found, [project(interface_record(row, kind.record), query) for row in found.rows])


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
        found = await public.definitions(
            services, kind.row, workflow_id, lambda base: interface_queries.only(base, row_id)
        )
        row = found[0] if found else None
    if row is None:
        raise kind.not_found
    return project(interface_record(row, kind.record), query)
