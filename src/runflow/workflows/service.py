"""Reading and deleting workflows. Creating and changing them have files of their own."""

from typing import Any
from uuid import UUID

from runflow import errors
from runflow.graph import is_slug
from runflow.services import Services
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, check_projection, project
from runflow.workflows import listing, queries, record

TOPIC = "workflow"
"""Hints on it carry the id of a workflow whose cached copies are stale."""


async def list_page(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return a page of the caller's workflows."""
    async with services.db.tenant(caller.org_id) as connection:
        return await listing.list_workflows(connection, caller.org_id, caller.org_slug, query)


async def get(services: Services, caller: Principal, workflow_id: UUID, query: RecordQuery) -> dict[str, Any]:
    """Return a live workflow of the caller's organization. Raises `WorkflowNotFound` or `InvalidField`."""
    return await _get(services, caller, workflow_id, query)


async def get_by_path(
    services: Services, caller: Principal, owner: str, slug: str, query: RecordQuery
) -> dict[str, Any]:
    """Return a live workflow by `owner/slug`. Raises `WorkflowNotFound` or `InvalidField`."""
    if owner != caller.org_slug or not is_slug(slug):
        raise errors.WorkflowNotFound
    return await _get(services, caller, slug, query)


async def delete(services: Services, caller: Principal, workflow_id: UUID) -> None:
    """Mark a workflow deleted; doing it again changes nothing. Its versions and runs stay.

    Raises `WorkflowNotFound`.
    """
    async with services.db.tenant(caller.org_id) as connection:
        if not await queries.delete(connection, workflow_id, caller.key_id):
            raise errors.WorkflowNotFound
    services.hub.publish(TOPIC, str(workflow_id))


async def _get(services: Services, caller: Principal, key: UUID | str, query: RecordQuery) -> dict[str, Any]:
    check_projection(query, record.RECORD_FIELDS, record.EMBEDS)
    parts = record.WHOLE if query.fields is None else record.WHOLE.intersection(query.fields)
    parts = parts.union(query.embed)
    async with services.db.tenant(caller.org_id) as connection:
        row = await queries.one_record(connection, caller.org_id, record.documents_of(parts), key=key)
        if row is None:
            raise errors.WorkflowNotFound
        found = await record.complete(connection, [row], caller.org_slug, parts)
    return project(found[0], query)
