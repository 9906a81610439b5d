"""The list of an organization's workflows: what it can be filtered and sorted by, and what its items carry."""

from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.web.lists import FieldKind, ListField, ListQuery, ListSpec, build, envelope, page, project, read_bounded
from runflow.web.lists.bounded import ROWS_AT_ONCE
from runflow.workflows import interface_queries, queries, record
from runflow.workflows.categories import CATEGORIES
from runflow.workflows.documents import size_of
from runflow.workflows.fields import GpuMode, WorkflowStatus
from runflow.workflows.interface_rows import InputRow, OutputRow
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
        ListField("auto_evaluate", workflows.c.auto_evaluate, FieldKind.BOOL),
        ListField("evaluation_task_type", workflows.c.evaluation_task_type, FieldKind.STRING, nullable=True),
        ListField("created_by", workflows.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", workflows.c.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", workflows.c.updated_at, FieldKind.TIMESTAMP),
    ),
    response_fields=record.RECORD_FIELDS,
    embeds=record.EMBEDS,
)

_INTERFACE: dict[str, type[InputRow] | type[OutputRow]] = {"inputs": InputRow, "outputs": OutputRow}
ROWS_WITHOUT_DOCUMENTS = 20
"""How many workflows the database sends before the size of their interfaces is looked at."""


async def list_workflows(connection: AsyncConnection, org_id: UUID, owner: str, query: ListQuery) -> dict[str, Any]:
    """Return one page. Documents, inputs and outputs are read only where `fields` or `embed` name them.

    Raises InvalidFilter, InvalidSort, InvalidCursor or InvalidField.
    """
    parts = {*(query.fields or ()), *query.embed}
    documents = record.documents_of(parts)
    kinds = [kind for name, kind in _INTERFACE.items() if name in parts]
    base = interface_queries.with_interface_size(queries.records(org_id, documents), kinds)
    if documents or kinds:
        # Inputs and outputs, too: a workflow may have thousands, and they are read for the whole page at once.
        found = await read_bounded(
            connection,
            SPEC,
            query,
            base,
            lambda row: size_of(row, documents) + int(row.interface_size),
            at_once=ROWS_AT_ONCE if documents else ROWS_WITHOUT_DOCUMENTS,
        )
    else:
        found = page(SPEC, query, await queries.rows(connection, build(SPEC, query, base)))
    items = await record.complete(connection, found.rows, owner, parts)
    return envelope(found, [project(item, query) for item in items])
