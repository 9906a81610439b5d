"""SQL of public workflows, for callers of other organizations: nothing but what everyone may know is selected."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from runflow.accounts.organizations.tables import organizations
from runflow.db.transaction import Transaction
from runflow.workflows import queries
from runflow.workflows.fields import WorkflowStatus
from runflow.workflows.queries import DescribedWorkflow, WorkflowToRun, WorkflowWithDocuments
from runflow.workflows.tables import workflows

Path = tuple[str, str]
"""`owner/slug`."""

_OPEN = sa.and_(
    workflows.c.is_public, workflows.c.status_code == WorkflowStatus.ACTIVE, workflows.c.deleted_at.is_(None)
)
_OWNED = queries.CURRENT.join(organizations, organizations.c.id == workflows.c.org_id)
_NOT_SHOWN = ("created_by", "deleted_by")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicWorkflow(WorkflowWithDocuments):
    """The own fields of a public workflow with its `owner`; who made it is None."""

    owner: str


@dataclass(frozen=True, slots=True)
class NamedWorkflow:
    """A workflow's id and slug."""

    id: UUID
    slug: str


def _at(key: UUID | Path) -> sa.ColumnElement[bool]:
    if isinstance(key, UUID):
        return sa.and_(workflows.c.id == key, _OPEN)
    owner, slug = key
    return sa.and_(organizations.c.slug == owner, workflows.c.slug == slug, _OPEN)


async def one_record(transaction: Transaction, key: UUID | Path) -> PublicWorkflow | None:
    """Return the own fields of a public workflow with its `owner`, who made it excepted."""
    shown: list[sa.ColumnElement[Any]] = [column for column in workflows.c if column.name not in _NOT_SHOWN]
    hidden = [sa.literal(None, workflows.c[name].type).label(name) for name in _NOT_SHOWN]
    columns = [*shown, *hidden, organizations.c.slug.label("owner")]
    statement: sa.Select[Any] = sa.select(*columns).select_from(_OWNED).where(_at(key))
    return await transaction.first(statement, row=PublicWorkflow)


async def dispatch_row(transaction: Transaction, path: Path) -> WorkflowToRun | None:
    """Return what a dispatch needs of a public workflow and its current version."""
    statement = sa.select(*queries.DISPATCH_COLUMNS).select_from(_OWNED).where(_at(path))
    return await transaction.first(statement, row=WorkflowToRun)


async def described(transaction: Transaction, path: Path) -> DescribedWorkflow | None:
    """Return what the OpenAPI document of a public workflow tells."""
    statement = sa.select(*queries.DESCRIBED_COLUMNS).select_from(_OWNED).where(_at(path))
    return await transaction.first(statement, row=DescribedWorkflow)


_RUNS = sa.table("runs", sa.column("comfyui_workflow_id"), sa.column("org_id"))
"""Named, not imported: runs stand above workflows."""


async def run_by(transaction: Transaction, org_id: UUID) -> list[NamedWorkflow]:
    """Return id and slug of the public workflows of other organizations that this organization has run."""
    has_run = sa.exists().where(_RUNS.c.comfyui_workflow_id == workflows.c.id, _RUNS.c.org_id == org_id)
    statement: sa.Select[Any] = sa.select(workflows.c.id, workflows.c.slug).where(
        _OPEN, workflows.c.org_id != org_id, has_run
    )
    return await transaction.rows(statement, row=NamedWorkflow)
