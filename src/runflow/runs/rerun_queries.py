"""SQL of reruns: the workflow of a run, which may be another organization's public one."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.orgs.tables import organizations
from runflow.workflows.tables import workflow_versions, workflows


async def target_row(
    connection: AsyncConnection, *, org_id: UUID, workflow_id: UUID, version_id: UUID | None
) -> Row[Any] | None:
    """Return a live workflow that this organization may run, with one of its versions (None: the current one).

    It may run its own workflows, disabled ones included, and the public, active ones of others.
    """
    wanted = workflows.c.version_id if version_id is None else version_id
    own: tuple[str, ...] = ("id", "org_id", "slug", "status_code", "gpu_mode", "gpu_explicit_models", "timeout_seconds")
    versioned = ("number", "interface", "resources", "fingerprint")
    shown: list[Any] = [
        *(workflows.c[name] for name in own),
        organizations.c.slug.label("owner"),
        workflow_versions.c.id.label("version_id"),
        *(workflow_versions.c[name] for name in versioned),
    ]
    statement = (
        select(*shown)
        .join(organizations, organizations.c.id == workflows.c.org_id)
        .join(workflow_versions, workflow_versions.c.workflow_id == workflows.c.id)
        .where(
            workflows.c.id == workflow_id,
            workflow_versions.c.id == wanted,
            workflows.c.deleted_at.is_(None),
            (workflows.c.org_id == org_id) | (workflows.c.is_public & (workflows.c.status_code == "active")),
        )
    )
    found: Row[Any] | None = (await connection.execute(statement)).one_or_none()
    return found
