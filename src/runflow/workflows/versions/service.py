"""Reading the versions of a workflow. Only its owner does, of a deleted one too."""

from typing import Any
from uuid import UUID

from runflow import errors
from runflow.services import Services
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, build, check_projection, envelope, page, project, read_bounded
from runflow.workflows import queries as workflows
from runflow.workflows.documents import size_of
from runflow.workflows.versions import queries
from runflow.workflows.versions.listing import VERSION_LIST, number_of, record


async def list_page(services: Services, caller: Principal, workflow_id: UUID, query: ListQuery) -> dict[str, Any]:
    """Return a page of the versions. Documents and interface are read only where `fields` names them.

    Raises `WorkflowNotFound`, InvalidFilter, InvalidSort, InvalidCursor or InvalidField.
    """
    texts = [name for name in queries.TEXTS if name in (query.fields or ())]
    base = queries.of_workflow(workflow_id, texts)
    statement = build(VERSION_LIST, query, base)
    async with services.db.tenant(caller.org_id) as connection:
        if not await workflows.is_there(connection, workflow_id):
            raise errors.WorkflowNotFound
        if texts:
            found = await read_bounded(connection, VERSION_LIST, query, base, lambda row: size_of(row, texts))
        else:
            found = page(VERSION_LIST, query, await workflows.rows(connection, statement))
    return envelope(found, [project(record(row, texts), query) for row in found.rows])


async def get(
    services: Services, caller: Principal, workflow_id: UUID, version: str, query: RecordQuery
) -> dict[str, Any]:
    """Return one version with its documents. Raises `WorkflowNotFound`, `WorkflowVersionNotFound`, `InvalidField`."""
    check_projection(query, VERSION_LIST.response_fields, VERSION_LIST.embeds)
    texts = queries.TEXTS if query.fields is None else query.fields
    async with services.db.tenant(caller.org_id) as connection:
        if not await workflows.is_there(connection, workflow_id):
            raise errors.WorkflowNotFound
        row = await queries.by_number(connection, workflow_id, number_of(version), texts)
    if row is None:
        raise errors.WorkflowVersionNotFound
    return project(record(row, texts), query)
