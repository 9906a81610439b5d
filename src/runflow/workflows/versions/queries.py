"""SQL of versions as their owner reads them, and what their lists can be filtered and sorted by."""

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from runflow import errors
from runflow.db.transaction import Transaction
from runflow.web.lists import FieldKind, ListField, ListSpec
from runflow.workflows.fields import NUMBER
from runflow.workflows.queries import VERSION_COLUMNS, Version, fragment
from runflow.workflows.records import version_record
from runflow.workflows.tables import workflow_versions, workflows
from runflow.workflows.versions.schemas import WholeVersion

TEXTS = ("workflow_json", "graph", "environment", "models", "custom_nodes", "resources", "interface")
"""What a version carries as JSON, by the names of the wire and of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionWithTexts(Version):
    """A version with what was asked for of its documents and its interface, as text."""

    is_current: bool
    workflow_json: str | None = None
    graph: str | None = None
    environment: str | None = None
    models: str | None = None
    custom_nodes: str | None = None
    resources: str | None = None
    interface: str | None = None


def of_workflow(workflow_id: UUID, texts: Collection[str] = ()) -> sa.Select[Any]:
    """Return the SELECT of the versions of a workflow, deleted or not, with these documents as text."""
    return _versions(texts).where(workflow_versions.c.workflow_id == workflow_id)


def _versions(texts: Collection[str]) -> sa.Select[Any]:
    return (
        sa.select(
            *(workflow_versions.c[name] for name in VERSION_COLUMNS),
            sa.and_(workflow_versions.c.id == workflows.c.version_id, workflows.c.is_serving).label("is_current"),
            *(sa.cast(workflow_versions.c[name], sa.Text).label(name) for name in TEXTS if name in texts),
        )
    ).select_from(workflow_versions.join(workflows, workflows.c.id == workflow_versions.c.workflow_id))


async def one(
    transaction: Transaction, workflow_id: UUID | None, version: int | UUID, texts: Collection[str]
) -> VersionWithTexts | None:
    """Return one version with these documents as text, by its number or id; without `workflow_id` of any workflow."""
    statement = _versions(texts) if workflow_id is None else of_workflow(workflow_id, texts)
    column = workflow_versions.c.id if isinstance(version, UUID) else workflow_versions.c.number
    return await transaction.first(statement.where(column == version), row=VersionWithTexts)


VERSION_LIST = ListSpec(
    from_=workflow_versions,
    fields=(
        ListField("id", workflow_versions.c.id, FieldKind.UUID),
        ListField("version", workflow_versions.c.number, FieldKind.INT),
        ListField("fingerprint", workflow_versions.c.fingerprint, FieldKind.STRING),
        ListField("created_by", workflow_versions.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", workflow_versions.c.created_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(WholeVersion.model_fields),
    # Times are those at which the changes began; the numbers are the order in which they came to be.
    default_sort="version:desc",
)


def number_of(version: str) -> int:
    """Return the number that a version's name is. Raises `WorkflowVersionNotFound` where it cannot be one."""
    if not NUMBER.fullmatch(version):
        raise errors.WorkflowVersionNotFound(
            f'There is no version "{version[:20]}": versions are numbered "1", "2" and so on.'
        )
    return int(version)


def name_of(version: str, workflow_id: UUID | None) -> int | UUID:
    """Return the id or the number that names a version. Raises `WorkflowVersionNotFound` where it can be neither."""
    with contextlib.suppress(ValueError):
        return UUID(version)
    if workflow_id is None:
        raise errors.WorkflowVersionNotFound("Below `any`, a version goes by its `id`: its number says nothing there.")
    return number_of(version)


def record(row: VersionWithTexts, texts: Collection[str], golden: dict[str, Any] | None) -> dict[str, Any]:
    """Return a version as the wire shows it, with these of its documents and the record of its golden run."""
    own = version_record(row, is_current=row.is_current, golden_run=golden)
    return own | {name: fragment(getattr(row, name)) for name in TEXTS if name in texts}
