"""Reading and deleting workflows. Creating and changing them have files of their own."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row

from runflow import errors
from runflow.audit import recorder
from runflow.graph import is_slug
from runflow.services import Services
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, check_projection, project
from runflow.workflows import listing, public, queries, record
from runflow.workflows.description import Described

TOPIC = "workflow"
"""Hints on it carry the id of a workflow whose cached copies are stale."""


async def list_page(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return a page of the caller's workflows."""
    async with services.db.tenant(caller.org_id) as connection:
        return await listing.list_workflows(connection, caller.org_id, caller.org_slug, query)


async def get(services: Services, caller: Principal, workflow_id: UUID, query: RecordQuery) -> dict[str, Any]:
    """Return a workflow of the caller's organization, deleted or not, or a public one of another.

    Raises `WorkflowNotFound` or `InvalidField`.
    """
    found = await _own(services, caller, workflow_id, query)
    return await public.get(services, workflow_id, query) if found is None else found


async def get_by_path(
    services: Services, caller: Principal, owner: str, slug: str, query: RecordQuery
) -> dict[str, Any]:
    """Return a live workflow by `owner/slug`, own or public. Raises `WorkflowNotFound` or `InvalidField`."""
    if not is_slug(owner) or not is_slug(slug):
        raise errors.WorkflowNotFound
    if owner != caller.org_slug:
        return await public.get(services, (owner, slug), query)
    found = await _own(services, caller, slug, query)
    if found is None:
        raise errors.WorkflowNotFound
    return found


async def described(services: Services, caller: Principal, owner: str, slug: str) -> Described:
    """Return what the OpenAPI document of a live workflow tells, own or public. Raises `WorkflowNotFound`."""
    if not is_slug(owner) or not is_slug(slug):
        raise errors.WorkflowNotFound
    row: Row[Any] | None
    if owner == caller.org_slug:
        async with services.db.tenant(caller.org_id) as connection:
            row = await queries.described(connection, caller.org_id, slug)
    else:
        row = await public.described(services, (owner, slug))
    if row is None:
        raise errors.WorkflowNotFound
    return Described(owner, slug, row.name, row.description, row.version, row.interface)


async def delete(services: Services, caller: Principal, workflow_id: UUID) -> None:
    """Mark a workflow deleted; doing it again changes nothing. Its versions and runs stay.

    Raises `WorkflowNotFound`.
    """
    async with services.db.tenant(caller.org_id) as connection:
        if await queries.delete(connection, workflow_id, caller.key_id):
            await recorder.record(connection, caller, "comfyui_workflow.deleted", "comfyui_workflow", workflow_id)
        elif not await queries.is_there(connection, workflow_id):
            raise errors.WorkflowNotFound
    services.hub.publish(TOPIC, str(workflow_id))


async def _own(services: Services, caller: Principal, key: UUID | str, query: RecordQuery) -> dict[str, Any] | None:
    check_projection(query, record.RECORD_FIELDS, record.EMBEDS)
    parts = record.WHOLE if query.fields is None else record.WHOLE.intersection(query.fields)
    parts = parts.union(query.embed)
    async with services.db.tenant(caller.org_id) as connection:
        row = await queries.one_record(connection, caller.org_id, record.documents_of(parts), key=key)
        if row is None:
            return None
        found = await record.complete(connection, [row], caller.org_slug, parts)
    return project(found[0], query)
