"""SQL of workflows and their versions. The rows of their interface have a file of their own.

The JSON documents of a version are stored and answered as they were sent, without being taken apart in between.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy import ColumnElement

from runflow import errors
from runflow.db.transaction import Transaction
from runflow.workers.tables import gpus
from runflow.workflows.tables import WorkflowRow, workflow_versions, workflows

LIVE_SLUG = "workflows_live_slug"
"""The unique index of slugs of workflows that are not deleted."""

CURRENT = workflows.join(workflow_versions, workflow_versions.c.id == workflows.c.version_id)
"""Workflows with their current version."""

DISPATCH_COLUMNS: tuple[ColumnElement[Any], ...] = (
    *(
        workflows.c[name]
        for name in ("id", "org_id", "version_id", "version", "status_code", "gpu_mode", "gpu_explicit_models")
    ),
    *(workflows.c[name] for name in ("timeout_seconds", "is_serving")),
    *(workflow_versions.c[name] for name in ("interface", "resources", "fingerprint")),
)
"""The columns of `WorkflowToRun`."""

DESCRIBED_COLUMNS: tuple[ColumnElement[Any], ...] = (
    *(workflows.c[name] for name in ("name", "description", "version")),
    workflow_versions.c.interface,
)
"""The columns of `DescribedWorkflow`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowWithDocuments(WorkflowRow):
    """A workflow with documents of its current version as text: those that were asked for, and are not null.

    `interface_size` is about how many bytes its inputs and outputs take in an answer, where a list asks for that.
    """

    workflow_json: str | None = None
    graph: str | None = None
    environment: str | None = None
    models: str | None = None
    custom_nodes: str | None = None
    resources: str | None = None
    interface_size: int = 0


@dataclass(frozen=True, slots=True)
class WorkflowToRun:
    """What a dispatch needs of a workflow and its current version."""

    id: UUID
    org_id: UUID
    version_id: UUID
    version: str
    status_code: str
    gpu_mode: str
    gpu_explicit_models: list[str]
    timeout_seconds: int | None
    is_serving: bool
    interface: dict[str, Any]
    resources: Any
    fingerprint: str


@dataclass(frozen=True, slots=True)
class DescribedWorkflow:
    """What the OpenAPI document of a workflow tells."""

    name: str
    description: str | None
    version: str
    interface: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Version:
    """A version without its documents."""

    id: UUID
    workflow_id: UUID
    number: int
    fingerprint: str
    created_by: UUID | None
    created_at: datetime


VERSION_COLUMNS = ("id", "workflow_id", "number", "fingerprint", "created_by", "created_at")
"""The columns of `Version`."""


@dataclass(frozen=True, slots=True)
class VersionTexts:
    """Documents of a version as text: those that were asked for, and are not null."""

    workflow_json: str | None = None
    graph: str | None = None
    environment: str | None = None
    models: str | None = None
    custom_nodes: str | None = None
    resources: str | None = None


@dataclass(frozen=True, slots=True)
class NeedsRow:
    """What a version asks of an engine: its documents as text."""

    id: UUID
    org_id: UUID
    workflow_json: str
    models: str | None
    custom_nodes: str | None
    environment: str | None


@dataclass(frozen=True, slots=True)
class LeasedVersion:
    """What a lease needs of a version, its documents and interface as text."""

    org_id: UUID
    number: int
    fingerprint: str
    workflow_json: str
    interface: str
    environment: str | None
    models: str | None
    custom_nodes: str | None
    resources: str | None


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
    transaction: Transaction, org_id: UUID, documents: Collection[str], *, key: UUID | str
) -> WorkflowWithDocuments | None:
    """Return a workflow by its id, deleted or not, or a live one by its slug."""
    if isinstance(key, UUID):
        statement = _all_records(org_id, documents).where(workflows.c.id == key)
    else:
        statement = records(org_id, documents).where(workflows.c.slug == key)
    return await transaction.first(statement, row=WorkflowWithDocuments)


async def by_ids(transaction: Transaction, workflow_ids: Collection[UUID]) -> list[WorkflowRow]:
    """Return these workflows of the transaction's tenant, deleted ones included, without their documents."""
    return await transaction.rows(sa.select(workflows).where(workflows.c.id.in_(workflow_ids)), row=WorkflowRow)


async def is_there(transaction: Transaction, workflow_id: UUID) -> bool:
    """Tell whether the transaction's tenant has this workflow, deleted or not."""
    statement = sa.select(workflows.c.id).where(workflows.c.id == workflow_id)
    return await transaction.value(statement, of=UUID) is not None


async def insert_workflow(transaction: Transaction, values: Mapping[str, Any]) -> None:
    """Insert a workflow; a taken slug is an IntegrityError on `LIVE_SLUG`, at the latest at the commit."""
    await transaction.run(sa.insert(workflows).values(**values))


async def insert_version(
    transaction: Transaction, values: Mapping[str, Any], documents: Mapping[str, str | None]
) -> None:
    """Insert a version with all its documents, given as text."""
    filled = {name: _json(documents.get(name)) for name in DOCUMENTS}
    await transaction.run(sa.insert(workflow_versions).values(**values, **filled))


async def insert_next_version(
    transaction: Transaction, previous: UUID, values: Mapping[str, Any], documents: Mapping[str, str | None]
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
    await transaction.run(sa.insert(workflow_versions).from_select(list(columns), source))


async def lock(transaction: Transaction, workflow_id: UUID) -> WorkflowRow | None:
    """Return a workflow, deleted or not, holding off other changes of it until the transaction ends.

    Dispatches go on.
    """
    statement = sa.select(workflows).where(workflows.c.id == workflow_id).with_for_update(key_share=True)
    return await transaction.first(statement, row=WorkflowRow)


async def last_number(transaction: Transaction, workflow_id: UUID) -> int:
    """Return the highest version number of a workflow."""
    statement = sa.select(sa.func.max(workflow_versions.c.number)).where(workflow_versions.c.workflow_id == workflow_id)
    return await transaction.one_value(statement, of=int)


async def version_texts(transaction: Transaction, version_id: UUID, names: Collection[str]) -> VersionTexts:
    """Return documents of a version as text."""
    statement = sa.select(*(_text(name) for name in names)).where(workflow_versions.c.id == version_id)
    return await transaction.one(statement, row=VersionTexts)


async def version_interface(transaction: Transaction, version_id: UUID) -> dict[str, Any]:
    """Return the frozen interface of a version."""
    statement = sa.select(workflow_versions.c.interface).where(workflow_versions.c.id == version_id)
    return await transaction.one_value(statement, of=dict[str, Any])


async def update(transaction: Transaction, workflow_id: UUID, values: Mapping[str, Any]) -> None:
    """Change a workflow's own fields; a taken slug is an IntegrityError on `LIVE_SLUG`, at the latest at the commit."""
    await transaction.run(sa.update(workflows).where(workflows.c.id == workflow_id).values(**values, updated_at=_NOW))


async def delete(transaction: Transaction, workflow_id: UUID, deleted_by: UUID) -> bool:
    """Mark a live workflow deleted. Return whether there was one."""
    statement = (
        sa.update(workflows)
        .where(workflows.c.id == workflow_id, workflows.c.deleted_at.is_(None))
        .values(deleted_at=_NOW, deleted_by=deleted_by, updated_at=_NOW)
    )
    return await transaction.change(statement) == 1


async def versions_of(transaction: Transaction, workflow_ids: Collection[UUID], most: int) -> list[Version]:
    """Return the newest versions of each workflow, newest first, without their documents."""
    place = sa.func.row_number().over(
        partition_by=workflow_versions.c.workflow_id, order_by=workflow_versions.c.number.desc()
    )
    ranked = (
        sa.select(*(workflow_versions.c[name] for name in VERSION_COLUMNS), place.label("place"))
        .where(workflow_versions.c.workflow_id == sa.any_(sa.literal(list(workflow_ids), sa.ARRAY(sa.Uuid))))
        .subquery()
    )
    newest = sa.select(*(ranked.c[name] for name in VERSION_COLUMNS)).where(ranked.c.place <= most)
    return await transaction.rows(newest.order_by(ranked.c.workflow_id, ranked.c.place), row=Version)


async def dispatch_row(transaction: Transaction, org_id: UUID, slug: str) -> WorkflowToRun | None:
    """Return what a dispatch needs of a live workflow and its current version."""
    return await transaction.first(_current(DISPATCH_COLUMNS, org_id, slug), row=WorkflowToRun)


async def described(transaction: Transaction, org_id: UUID, slug: str) -> DescribedWorkflow | None:
    """Return what the OpenAPI document of a live workflow tells."""
    return await transaction.first(_current(DESCRIBED_COLUMNS, org_id, slug), row=DescribedWorkflow)


def _current(columns: Collection[ColumnElement[Any]], org_id: UUID, slug: str) -> sa.Select[Any]:
    return (
        sa.select(*columns)
        .select_from(CURRENT)
        .where(workflows.c.org_id == org_id, workflows.c.slug == slug, workflows.c.deleted_at.is_(None))
    )


async def version_id(transaction: Transaction, workflow_id: UUID, number: int) -> UUID | None:
    """Return the id of a workflow's version by its number; None where there is none."""
    statement = sa.select(workflow_versions.c.id).where(
        workflow_versions.c.workflow_id == workflow_id, workflow_versions.c.number == number
    )
    return await transaction.value(statement, of=UUID)


async def version_row(transaction: Transaction, version_id: UUID) -> LeasedVersion | None:
    """Return what a lease needs of a version, its documents and interface as text."""
    names = ("workflow_json", "interface", "environment", "models", "custom_nodes", "resources")
    statement = sa.select(
        workflow_versions.c.org_id,
        workflow_versions.c.number,
        workflow_versions.c.fingerprint,
        *(_text(name) for name in names),
    ).where(workflow_versions.c.id == version_id)
    return await transaction.first(statement, row=LeasedVersion)


# Whole documents: PostgreSQL fails at looking into one that holds a NUL anywhere, and then all versions go unread.
_NEEDS = """
    SELECT id, org_id, CAST(workflow_json AS text) AS workflow_json, CAST(models AS text) AS models,
           CAST(custom_nodes AS text) AS custom_nodes, CAST(environment AS text) AS environment
    FROM workflow_versions WHERE id IN (
        SELECT id FROM (
            SELECT id, row_number() OVER (ORDER BY id) AS place, sum(
                pg_column_size(workflow_json) + coalesce(pg_column_size(models), 0)
                + coalesce(pg_column_size(custom_nodes), 0) + coalesce(pg_column_size(environment), 0))
                OVER (ORDER BY id) AS stored
            FROM workflow_versions WHERE id = ANY(%(versions)s)) AS sized
        WHERE stored <= %(most_stored)s OR place = 1)
"""


async def needs(transaction: Transaction, version_ids: Collection[UUID], *, most_stored: int) -> list[NeedsRow]:
    """Return what these versions ask of an engine: of as many as fit so many bytes as they are stored, but of one."""
    return await transaction.rows(_NEEDS, {"versions": list(version_ids), "most_stored": most_stored}, row=NeedsRow)


_TAKE_UNREAD = """
    DELETE FROM unread_versions WHERE version_id IN (
        SELECT version_id FROM unread_versions ORDER BY version_id DESC LIMIT %(most)s)
    RETURNING version_id, org_id
"""


@dataclass(frozen=True, slots=True)
class UnreadVersion:
    """A version of which nobody has noted which sources it names."""

    version_id: UUID
    org_id: UUID


async def take_unread(transaction: Transaction, most: int) -> list[UnreadVersion]:
    """Take the newest of the versions whose sources were not noted off their list, and return them."""
    return await transaction.rows(_TAKE_UNREAD, {"most": most}, row=UnreadVersion)


async def gpu_codes(transaction: Transaction) -> list[str]:
    """Return the codes of the GPU catalogue."""
    return await transaction.values(sa.select(gpus.c.code).order_by(gpus.c.sort_order), of=str)


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


def size_of(row: object, names: Iterable[str]) -> int:
    """Return how large these documents of a row are, in characters of JSON."""
    return sum(len(getattr(row, name) or "") for name in names)


def fragment(text: str | None) -> orjson.Fragment | None:
    """Return stored text so that an answer carries it without parsing it."""
    return None if text is None else orjson.Fragment(text)
