"""SQL of versions as their owner reads them."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.workflows.tables import workflow_versions, workflows

TEXTS = ("workflow_json", "graph", "environment", "models", "custom_nodes", "resources", "interface")
"""What a version carries as JSON, by the names of the wire and of the table."""

_OWN = ("id", "workflow_id", "number", "fingerprint", "created_by", "created_at")


def of_workflow(workflow_id: UUID, texts: Collection[str] = ()) -> sa.Select[Any]:
    """Return the SELECT of the versions of a workflow, deleted or not, with these documents as text."""
    return (
        sa.select(
            *(workflow_versions.c[name] for name in _OWN),
            (workflow_versions.c.id == workflows.c.version_id).label("is_current"),
            *(sa.cast(workflow_versions.c[name], sa.Text).label(name) for name in TEXTS if name in texts),
        )
        .select_from(workflow_versions.join(workflows, workflows.c.id == workflow_versions.c.workflow_id))
        .where(workflow_versions.c.workflow_id == workflow_id)
    )


async def by_number(
    connection: AsyncConnection, workflow_id: UUID, number: int, texts: Collection[str]
) -> Row[Any] | None:
    """Return one version of a workflow with these documents as text."""
    statement = of_workflow(workflow_id, texts).where(workflow_versions.c.number == number)
    found: Row[Any] | None = (await connection.execute(statement)).one_or_none()
    return found
