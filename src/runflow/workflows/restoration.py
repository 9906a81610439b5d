"""Undoing the deletion of a workflow."""

from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from runflow import errors
from runflow.audit import recorder
from runflow.services import Services
from runflow.web.auth import Principal
from runflow.workflows import queries, record, writing
from runflow.workflows.documents import DOCUMENTS
from runflow.workflows.schemas import Restoration
from runflow.workflows.service import TOPIC


async def restore(
    services: Services, caller: Principal, workflow_id: UUID, body: Restoration
) -> tuple[dict[str, Any], bool]:
    """Bring a deleted workflow back, and return its record and whether it was deleted.

    Raises `WorkflowNotFound`, or `Conflict` where its slug is taken.
    """
    slug = ""
    try:
        async with services.db.tenant(caller.org_id) as connection:
            current = await queries.lock(connection, workflow_id)
            if current is None:
                raise errors.WorkflowNotFound
            is_deleted = current.deleted_at is not None
            if is_deleted:
                slug = body.slug or current.slug
                await queries.update(connection, workflow_id, {"slug": slug, "deleted_at": None, "deleted_by": None})
                details = {"slug": slug}
                await recorder.record(
                    connection, caller, "comfyui_workflow.restored", "comfyui_workflow", workflow_id, details
                )
            row = await queries.one_record(connection, caller.org_id, DOCUMENTS, key=workflow_id)
            if row is None:
                raise errors.WorkflowNotFound
            found = await record.complete(connection, [row], caller.org_slug, record.WHOLE)
    except IntegrityError as error:
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
