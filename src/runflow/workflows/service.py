"""Rules of reading, deleting and restoring workflows. Creating and changing them have files of their own."""

from typing import Any
from uuid import UUID

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.db.transaction import Transaction, Violation
from runflow.graph import is_slug
from runflow.web.auth import Principal
from runflow.web.lists import (
    FieldKind,
    ListField,
    ListQuery,
    ListSpec,
    RecordQuery,
    check_projection,
    envelope,
    project,
    read_page,
)
from runflow.web.lists.pages import ROWS_AT_ONCE
from runflow.web.services import Services
from runflow.workflows import public, records, writing
from runflow.workflows import queries as workflows_queries
from runflow.workflows.categories import CATEGORIES
from runflow.workflows.fields import GpuMode, WorkflowStatus
from runflow.workflows.golden import service as golden
from runflow.workflows.interface import queries
from runflow.workflows.interface.rows import InputRow, OutputRow
from runflow.workflows.queries import DOCUMENTS, WorkflowWithDocuments, size_of
from runflow.workflows.schemas import Restoration
from runflow.workflows.tables import workflows

SPEC = ListSpec(
    from_=workflows,
    fields=(
        ListField("id", workflows.c.id, FieldKind.UUID),
        ListField("slug", workflows.c.slug, FieldKind.STRING),
        ListField("name", workflows.c.name, FieldKind.STRING),
        ListField("description", workflows.c.description, FieldKind.STRING, sortable=False, nullable=True),
        ListField("version", workflows.c.version, FieldKind.STRING, sortable=False),
        ListField("is_public", workflows.c.is_public, FieldKind.BOOL),
        ListField("status_code", workflows.c.status_code, FieldKind.ENUM, choices=tuple(WorkflowStatus)),
        ListField("category_code", workflows.c.category_code, FieldKind.ENUM, nullable=True, choices=tuple(CATEGORIES)),
        ListField("gpu_mode", workflows.c.gpu_mode, FieldKind.ENUM, choices=tuple(GpuMode)),
        ListField("timeout_seconds", workflows.c.timeout_seconds, FieldKind.INT, nullable=True),
        ListField("max_running", workflows.c.max_running, FieldKind.INT, nullable=True),
        ListField("auto_evaluate", workflows.c.auto_evaluate, FieldKind.BOOL),
        ListField("evaluation_task_type", workflows.c.evaluation_task_type, FieldKind.STRING, nullable=True),
        ListField("created_by", workflows.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", workflows.c.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", workflows.c.updated_at, FieldKind.TIMESTAMP),
    ),
    response_fields=records.RECORD_FIELDS,
    embeds=records.EMBEDS,
)

_INTERFACE: dict[str, type[InputRow] | type[OutputRow]] = {"inputs": InputRow, "outputs": OutputRow}
ROWS_WITHOUT_DOCUMENTS = 20
"""How many workflows the database sends before the size of their interfaces is looked at."""


async def list_workflows(transaction: Transaction, org_id: UUID, owner: str, query: ListQuery) -> dict[str, Any]:
    """Return one page. Documents, inputs and outputs are read only where `fields` or `embed` name them.

    Raises InvalidFilter, InvalidSort, InvalidCursor or InvalidField.
    """
    parts = {*(query.fields or ()), *query.embed}
    documents = records.documents_of(parts)
    kinds = [kind for name, kind in _INTERFACE.items() if name in parts]
    base = queries.with_interface_size(workflows_queries.records(org_id, documents), kinds)
    # Inputs and outputs, too: a workflow may have thousands, and they are read for the whole page at once.
    is_heavy = bool(documents or kinds)
    found = await read_page(
        transaction,
        SPEC,
        query,
        base,
        row=WorkflowWithDocuments,
        short=not is_heavy,
        size=(lambda row: size_of(row, documents) + row.interface_size) if is_heavy else None,
        at_once=ROWS_AT_ONCE if documents else ROWS_WITHOUT_DOCUMENTS,
    )
    items = await records.complete(transaction, found.rows, owner, parts)
    return envelope(found, [project(item, query) for item in items])


TOPIC = "workflow"
"""Hints on it carry the id of a workflow whose cached copies are stale."""
ROOM = "room"
"""The topic of hints that more of a workflow's or an organization's runs may be worked on; the subject is its id."""


async def list_page(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return a page of the caller's workflows."""
    async with services.db.listing(caller.org_id) as transaction:
        return await list_workflows(transaction, caller.org_id, caller.org_slug, query)


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


async def delete(services: Services, caller: Principal, workflow_id: UUID) -> None:
    """Mark a workflow deleted; doing it again changes nothing. Its versions and runs stay.

    Raises `WorkflowNotFound`.
    """
    async with services.db.tenant(caller.org_id) as transaction:
        if await workflows_queries.delete(transaction, workflow_id, caller.key_id):
            await golden.stop_deleted(transaction, workflow_id)
            await recorder.record(transaction, caller, "comfyui_workflow.deleted", "comfyui_workflow", workflow_id)
        elif not await workflows_queries.is_there(transaction, workflow_id):
            raise errors.WorkflowNotFound
    services.hub.publish(TOPIC, str(workflow_id))
    services.hub.publish(golden.TOPIC)


async def _own(services: Services, caller: Principal, key: UUID | str, query: RecordQuery) -> dict[str, Any] | None:
    check_projection(query, records.RECORD_FIELDS, records.EMBEDS)
    parts = records.WHOLE if query.fields is None else records.WHOLE.intersection(query.fields)
    parts = parts.union(query.embed)
    async with services.db.tenant(caller.org_id) as transaction:
        row = await workflows_queries.one_record(transaction, caller.org_id, records.documents_of(parts), key=key)
        if row is None:
            return None
        found = await records.complete(transaction, [row], caller.org_slug, parts)
    return project(found[0], query)


async def restore(
    services: Services, caller: Principal, workflow_id: UUID, body: Restoration
) -> tuple[dict[str, Any], bool]:
    """Bring a deleted workflow back, and return its record and whether it was deleted.

    Raises `WorkflowNotFound`, or `Conflict` where its slug is taken.
    """
    slug = ""
    try:
        async with services.db.tenant(caller.org_id) as transaction:
            current = await workflows_queries.lock(transaction, workflow_id)
            if current is None:
                raise errors.WorkflowNotFound
            is_deleted = current.deleted_at is not None
            if is_deleted:
                slug = body.slug or current.slug
                await workflows_queries.update(
                    transaction, workflow_id, {"slug": slug, "deleted_at": None, "deleted_by": None}
                )
                details = {"slug": slug}
                await recorder.record(
                    transaction, caller, "comfyui_workflow.restored", "comfyui_workflow", workflow_id, details
                )
            row = await workflows_queries.one_record(transaction, caller.org_id, DOCUMENTS, key=workflow_id)
            if row is None:
                raise errors.WorkflowNotFound
            found = await records.complete(transaction, [row], caller.org_slug, records.WHOLE)
    except Violation as error:
        if writing.slug_conflict(error, slug) is None:
            raise
        message = (
            f'The slug "{slug}" is taken by another workflow meanwhile. Restore this one under another slug: '
            f'send {{"slug": "{slug[:90]}-2"}}, or rename or delete that one first.'
        )
        detail = {"loc": ["body", "slug"], "msg": message, "type": "conflict"}
        raise errors.Conflict(message, errors=[detail]) from error
    services.hub.publish(TOPIC, str(workflow_id))
    return found[0], is_deleted
