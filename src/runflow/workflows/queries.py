"""SQL of workflows and their versions. The rows of their interface have a file of their own.

The JSON documents of a version are stored and answered as they were sent, without being taken apart in between.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy import ColumnElement, Row

from runflow import errors
from runflow.db.transaction import Transaction
from runflow.workers.tables import gpus
from runflow.workflows.tables import workflow_versions, workflows

LIVE_SLUG = "workflows_live_slug"
"""The unique index of slugs of workflows that are not deleted."""

CURRENT = workflows.join(workflow_versions, workflow_versions.c.id == workflows.c.version_id)
"""Workflows with their current version."""

DISPATCH_COLUMNS: tuple[ColumnElement[Any], ...] = (
    *(
        workflows.c[name]
        for name in ("id", "org_id", "version_id", "version", "status_code", "gpu_mode", "gpu_explicit_models")
    ),
    workflows.c.timeout_seconds,
    *(workflow_versions.c[name] for name in ("interface", "resources", "fingerprint")),
)
"""What a dispatch needs of a workflow and its current version."""

DESCRIBED_COLUMNS: tuple[ColumnElement[Any], ...] = (
    *(workflows.c[name] for name in ("id", "name", "description", "version", "slug")),
    workflow_versions.c.interface,
)
"""What the OpenAPI document of a workflow tells."""

_NOW = sa.func.clock_timestamp()


def _text(name: str) -> ColumnElement[Any]:
    """A document as its JSON text."""
    return sa.cast(workflow_versions.c[name], sa.Text).label(name)


def _json(text: str | None) -> ColumnElement[Any]:
    return sa.cast(sa.literal(text, sa.Text), sa.JSON)


def record_columns(documents: Collection[str]) -> list[ColumnElement[Any]]:
    """Return the columns of a record: the workflow's own, and these documents of its current version as text."""
    return [*workflows.c, *(_text(name) for name in DOCUMENTS if name in documents)]


def records(org_id: UUID, documents: Collection[str] = ()) -> sa.Select[Any]:
    """Return the SELECT of an organization's live workflows with these documents of their current version."""
    return _all_records(org_id, documents).where(workflows.c.deleted_at.is_(None))


def _all_records(org_id: UUID, documents: Collection[str]) -> sa.Select[Any]:
    source = CURRENT if documents else workflows
    # The tenant's policy says the same; said here too, an index on org_id serves the order of a page.
    return sa.select(*record_columns(documents)).select_from(source).where(workflows.c.org_id == org_id)


async def one_record(
    connection: Transaction, org_id: UUID, documents: Collection[str], *, key: UUID | str
) -> Row[Any] | None:
    """Return a workflow by its id, deleted or not, or a live one by its slug."""
    if isinstance(key, UUID):
        statement = _all_records(org_id, documents).where(workflows.c.id == key)
    else:
        statement = records(org_id, documents).where(workflows.c.slug == key)
    found: Row[Any] | None = (await connection.execute(statement)).one_or_none()
    return found


async def is_there(connection: Transaction, workflow_id: UUID) -> bool:
    """Tell whether the transaction's tenant has this workflow, deleted or not."""
    statement = sa.select(workflows.c.id).where(workflows.c.id == workflow_id)
    return (await connection.execute(statement)).first() is not None


async def rows(connection: Transaction, statement: sa.Select[Any]) -> Sequence[Row[Any]]:
    """Run a list's statement."""
    found: Sequence[Row[Any]] = (await connection.execute(statement)).all()
    return found


async def insert_workflow(connection: Transaction, values: Mapping[str, Any]) -> None:
    """Insert a workflow; a taken slug is an IntegrityError on `LIVE_SLUG`."""
    await connection.execute(sa.insert(workflows).values(**values))


async def insert_version(
    connection: Transaction, values: Mapping[str, Any], documents: Mapping[str, str | None]
) -> None:
    """Insert a version with all its documents, given as text."""
    filled = {name: _json(documents.get(name)) for name in DOCUMENTS}
    await connection.execute(sa.insert(workflow_versions).values(**values, **filled))


async def insert_next_version(
    connection: Transaction, previous: UUID, values: Mapping[str, Any], documents: Mapping[str, str | None]
) -> None:
    """Insert a version with these documents, the others copied from the previous version inside the database."""
    columns: dict[str, ColumnElement[Any]] = {
        name: sa.literal(value, workflow_versions.c[name].type) for name, value in values.items()
    }
    for name in DOCUMENTS:
        columns[name] = _json(documents[name]) if name in documents else workflow_versions.c[name]
    for name in ("interface", "fingerprint", "org_id", "workflow_id"):
        columns.setdefault(name, workflow_versions.c[name])
    source = sa.select(*columns.values()).where(workflow_versions.c.id == previous)
    await connection.execute(sa.insert(workflow_versions).from_select(list(columns), source))


async def lock(connection: Transaction, workflow_id: UUID) -> Row[Any] | None:
    """Return a workflow, deleted or not, holding off other changes of it until the transaction ends.

    Dispatches go on.
    """
    statement = sa.select(workflows).where(workflows.c.id == workflow_id).with_for_update(key_share=True)
    return (await connection.execute(statement)).one_or_none()


async def last_number(connection: Transaction, workflow_id: UUID) -> int:
    """Return the highest version number of a workflow."""
    statement = sa.select(sa.func.max(workflow_versions.c.number)).where(workflow_versions.c.workflow_id == workflow_id)
    return int((await connection.execute(statement)).scalar_one())


async def version_texts(connection: Transaction, version_id: UUID, names: Collection[str]) -> dict[str, str | None]:
    """Return documents of a version as text."""
    statement = sa.select(*(_text(name) for name in names)).where(workflow_versions.c.id == version_id)
    return dict((await connection.execute(statement)).one()._mapping)


async def version_interface(connection: Transaction, version_id: UUID) -> dict[str, Any]:
    """Return the frozen interface of a version."""
    statement = sa.select(workflow_versions.c.interface).where(workflow_versions.c.id == version_id)
    found: dict[str, Any] = (await connection.execute(statement)).scalar_one()
    return found


async def update(connection: Transaction, workflow_id: UUID, values: Mapping[str, Any]) -> None:
    """Change a workflow's own fields; a taken slug is an IntegrityError on `LIVE_SLUG`."""
    statement = sa.update(workflows).where(workflows.c.id == workflow_id).values(**values, updated_at=_NOW)
    await connection.execute(statement)


async def delete(connection: Transaction, workflow_id: UUID, deleted_by: UUID) -> bool:
    """Mark a live workflow deleted. Return whether there was one."""
    statement = (
        sa.update(workflows)
        .where(workflows.c.id == workflow_id, workflows.c.deleted_at.is_(None))
        .values(deleted_at=_NOW, deleted_by=deleted_by, updated_at=_NOW)
    )
    return (await connection.execute(statement)).rowcount == 1


async def versions_of(connection: Transaction, workflow_ids: Collection[UUID], most: int) -> Sequence[Row[Any]]:
    """Return the newest versions of each workflow, newest first, without their documents."""
    columns = ("id", "workflow_id", "number", "fingerprint", "created_by", "created_at")
    place = sa.func.row_number().over(
        partition_by=workflow_versions.c.workflow_id, order_by=workflow_versions.c.number.desc()
    )
    ranked = (
        sa.select(*(workflow_versions.c[name] for name in columns), place.label("place"))
        .where(workflow_versions.c.workflow_id == sa.any_(sa.literal(list(workflow_ids), sa.ARRAY(sa.Uuid))))
        .subquery()
    )
    statement = sa.select(ranked).where(ranked.c.place <= most).order_by(ranked.c.workflow_id, ranked.c.place)
    return (await connection.execute(statement)).all()


async def dispatch_row(connection: Transaction, org_id: UUID, slug: str) -> Row[Any] | None:
    """Return what a dispatch needs of a live workflow and its current version."""
    return await _current(connection, DISPATCH_COLUMNS, org_id, slug)


async def described(connection: Transaction, org_id: UUID, slug: str) -> Row[Any] | None:
    """Return what the OpenAPI document of a live workflow tells."""
    return await _current(connection, DESCRIBED_COLUMNS, org_id, slug)


async def _current(
    connection: Transaction, columns: Collection[ColumnElement[Any]], org_id: UUID, slug: str
) -> Row[Any] | None:
    statement = (
        sa.select(*columns)
        .select_from(CURRENT)
        .where(workflows.c.org_id == org_id, workflows.c.slug == slug, workflows.c.deleted_at.is_(None))
    )
    return (await connection.execute(statement)).one_or_none()


async def version_row(connection: Transaction, version_id: UUID) -> Row[Any] | None:
    """Return what a lease needs of a version, its documents and interface as text."""
    names = ("workflow_json", "interface", "environment", "models", "custom_nodes", "resources")
    statement = sa.select(
        workflow_versions.c.org_id,
        workflow_versions.c.number,
        workflow_versions.c.fingerprint,
        *(_text(name) for name in names),
    ).where(workflow_versions.c.id == version_id)
    return (await connection.execute(statement)).one_or_none()


async def gpu_codes(connection: Transaction) -> list[str]:
    """Return the codes of the GPU catalogue."""
    return list((await connection.execute(sa.select(gpus.c.code).order_by(gpus.c.sort_order))).scalars())


DOCUMENTS = ("workflow_json", "graph", "environment", "models", "custom_nodes", "resources")
"""The documents of a version, by their names on the wire and in the table."""

MAX_DEPTH = 254
"""Deepest nesting that can be written again."""


def as_text(name: str, document: Any) -> str | None:
    """Return a document as the JSON text to store; null is None. Raises `ValidationFailed` when it nests too deep."""
    if document is None:
        return None
    try:
        return orjson.dumps(document).decode()
    except TypeError:
        message = f"{name}: Objects and arrays may be nested at most {MAX_DEPTH} levels deep"
        detail = {"loc": ["body", name], "msg": message, "type": "too_deep"}
        raise errors.ValidationFailed(message, errors=[detail]) from None


def texts(documents: Mapping[str, Any]) -> dict[str, str | None]:
    """Return each document as the text to store."""
    return {name: as_text(name, document) for name, document in documents.items()}


def size_of(row: Row[Any], names: Iterable[str]) -> int:
    """Return how large these documents of a row are, in characters of JSON."""
    return sum(len(row._mapping[name] or "") for name in names)


def fragment(text: str | None) -> orjson.Fragment | None:
    """Return stored text so that an answer carries it without parsing it."""
    return None if text is None else orjson.Fragment(text)
