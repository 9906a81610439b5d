"""SQL of sources: naming them as a tenant, and deciding on them for the whole installation."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, or_, select, text

from runflow.db.transaction import Transaction
from runflow.ids import new_id
from runflow.sources.schemas import MOST_NAMED, Source
from runflow.sources.tables import SourceRow, SourceState, sources
from runflow.web.lists import FieldKind, ListField, ListSpec


@dataclass(frozen=True, slots=True)
class SourceId:
    """A source and its id."""

    id: UUID
    origin: str
    commit: str


@dataclass(frozen=True, slots=True)
class SourceStateRow:
    """What became of a source."""

    origin: str
    commit: str
    state_code: str


_NAME = """
    SELECT id, origin, commit
    FROM name_sources(CAST(%(ids)s AS uuid[]), CAST(%(origins)s AS text[]), CAST(%(commits)s AS text[]))
"""

_NOTE = """
    INSERT INTO version_sources (org_id, version_id, source_id, kind_code, names, packages_count)
    SELECT %(org_id)s, %(version_id)s, n.source_id, n.kind_code,
           ARRAY(SELECT json_array_elements_text(CAST(n.names AS json))), %(packages_count)s
    FROM unnest(CAST(%(source_ids)s AS uuid[]), CAST(%(kinds)s AS text[]), CAST(%(names)s AS text[]))
         AS n (source_id, kind_code, names)
    ON CONFLICT DO NOTHING
"""

_STATES = """
    SELECT s.origin, s.commit, s.state_code
    FROM unnest(CAST(%(origins)s AS text[]), CAST(%(commits)s AS text[])) AS n (origin, commit)
    JOIN sources s ON s.origin = n.origin AND s.commit = n.commit
"""

_APPROVE_BY_SETTINGS = """
    INSERT INTO sources AS s (id, origin, commit, state_code, decided_at)
    SELECT n.id, n.origin, n.commit, 'approved', clock_timestamp()
    FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(origins)s AS text[]), CAST(%(commits)s AS text[]))
         AS n (id, origin, commit)
    ORDER BY n.origin, n.commit
    ON CONFLICT (origin, commit) DO UPDATE SET state_code = 'approved', decided_at = clock_timestamp()
    WHERE s.state_code = 'waiting'
    RETURNING id, origin, commit
"""

_APPROVE = "SELECT id, origin, commit FROM approve_sources(CAST(%(ids)s AS uuid[]), %(key)s)"


async def name(transaction: Transaction, keys: Sequence[tuple[str, str]]) -> list[SourceId]:
    """Make those of these sources, each an origin and a commit, that are not known yet; return the ids of all."""
    values: Mapping[str, Any] = {
        "ids": [new_id() for _ in keys],
        "origins": [origin for origin, _ in keys],
        "commits": [commit for _, commit in keys],
    }
    return await transaction.rows(_NAME, values, row=SourceId)


async def note(transaction: Transaction, values: Mapping[str, Any]) -> None:
    """Note which sources a version names: parallel lists `source_ids`, `kinds` and `names` (each a JSON array)."""
    await transaction.run(_NOTE, values)


async def approve(transaction: Transaction, source_ids: Collection[UUID], key_id: UUID) -> list[SourceId]:
    """Approve those of these sources that wait, as the operator's tenant, and return them.

    The database refuses it to every other tenant.
    """
    return await transaction.rows(_APPROVE, {"ids": list(source_ids), "key": key_id}, row=SourceId)


async def approve_by_settings(
    transaction: Transaction, ids: Sequence[UUID], keys: Sequence[tuple[str, str]]
) -> list[SourceId]:
    """Approve, as the system role, those of these sources that wait or are new (with `ids`), and return them."""
    values = {"ids": ids, "origins": [origin for origin, _ in keys], "commits": [commit for _, commit in keys]}
    return await transaction.rows(_APPROVE_BY_SETTINGS, values, row=SourceId)


async def states(transaction: Transaction, keys: Collection[tuple[str, str]]) -> list[SourceStateRow]:
    """Return what became of those of these sources that are known, as the system role."""
    values = {"origins": [origin for origin, _ in keys], "commits": [commit for _, commit in keys]}
    return await transaction.rows(_STATES, values, row=SourceStateRow)


# By an earlier version where runs of it wait.
_NEEDED = """EXISTS (
    SELECT FROM version_sources n
    JOIN workflow_versions v ON v.id = n.version_id JOIN workflows w ON w.id = v.workflow_id
    WHERE n.source_id = sources.id AND (
        (w.version_id = n.version_id AND w.deleted_at IS NULL)
        OR EXISTS (SELECT FROM lanes l WHERE l.version_id = n.version_id AND l.depth > 0)))"""


def shown() -> Select[Any]:
    """Select the sources that the operator decided on, and those that wait and are still needed."""
    return select(sources).where(or_(sources.c.state_code != SourceState.WAITING, text(_NEEDED)))


SOURCE_LIST = ListSpec(
    from_=sources,
    fields=(
        ListField("id", sources.c.id, FieldKind.UUID),
        ListField("origin", sources.c.origin, FieldKind.STRING),
        ListField("commit", sources.c.commit, FieldKind.STRING),
        ListField("state_code", sources.c.state_code, FieldKind.ENUM, choices=tuple(SourceState)),
        ListField("first_seen_at", sources.c.first_seen_at, FieldKind.TIMESTAMP),
        ListField("decided_at", sources.c.decided_at, FieldKind.TIMESTAMP, nullable=True),
        ListField("decided_by", sources.c.decided_by, FieldKind.UUID, nullable=True),
    ),
    response_fields=frozenset(Source.model_fields),
    default_sort="first_seen_at:desc",
)

_DECIDE = """
    UPDATE sources SET state_code = %(state)s, decided_at = clock_timestamp(), decided_by = %(key)s
    WHERE id = %(id)s AND state_code <> %(state)s
    RETURNING id, origin, commit, state_code, first_seen_at, decided_at, decided_by
"""

_NAMES = """
    SELECT source_id, min(kind_code) AS kind_code,
           CAST(to_json((array_agg(DISTINCT name ORDER BY name))[1:%(most)s]) AS text) AS names
    FROM version_sources, unnest(names) AS name
    WHERE source_id = ANY(CAST(%(ids)s AS uuid[])) GROUP BY source_id
"""

_WORKFLOWS = """
    WITH needing AS (
        SELECT n.source_id, w.id, w.name, o.slug || '/' || w.slug AS path, o.name AS organization,
               row_number() OVER (PARTITION BY n.source_id ORDER BY o.slug, w.slug) AS place,
               count(*) OVER (PARTITION BY n.source_id) AS total
        FROM version_sources n JOIN workflow_versions v ON v.id = n.version_id
        JOIN workflows w ON w.id = v.workflow_id AND w.version_id = n.version_id JOIN organizations o ON o.id = w.org_id
        WHERE n.source_id = ANY(CAST(%(ids)s AS uuid[])) AND w.deleted_at IS NULL)
    SELECT source_id, id, name, path, organization, total FROM needing WHERE place <= %(most)s ORDER BY source_id, place
"""

# Ids of versions are in order of time.
_DEPLOYED = """
    SELECT DISTINCT ON (n.source_id) n.source_id, n.packages_count, v.created_at, k.id AS key_id, k.name AS key_name,
           u.email, o.slug AS organization
    FROM version_sources n JOIN workflow_versions v ON v.id = n.version_id JOIN organizations o ON o.id = n.org_id
    LEFT JOIN api_keys k ON k.id = v.created_by LEFT JOIN users u ON u.id = k.user_id
    WHERE n.source_id = ANY(CAST(%(ids)s AS uuid[])) ORDER BY n.source_id, n.version_id
"""


@dataclass(frozen=True, slots=True)
class NamesRow:
    """What versions call a source, and what for they take it; `names` is a JSON array."""

    source_id: UUID
    kind_code: str
    names: str


@dataclass(frozen=True, slots=True)
class UsingWorkflow:
    """A live workflow whose current version names a source; `total`: how many do."""

    source_id: UUID
    id: UUID
    name: str
    path: str
    organization: str
    total: int


@dataclass(frozen=True, slots=True)
class DeployedRow:
    """Who deployed the first version that names a source."""

    source_id: UUID
    packages_count: int
    created_at: datetime
    key_id: UUID | None
    key_name: str | None
    email: str | None
    organization: str


async def get(transaction: Transaction, source_id: UUID) -> SourceRow | None:
    """Return a source."""
    return await transaction.first(select(sources).where(sources.c.id == source_id), row=SourceRow)


async def decide(
    transaction: Transaction, source_id: UUID, state: SourceState, key_id: UUID | None
) -> SourceRow | None:
    """Bring a source into a state, as the system role, and return it; None where it is in it, or is not there."""
    return await transaction.first(_DECIDE, {"id": source_id, "state": state, "key": key_id}, row=SourceRow)


async def names(transaction: Transaction, source_ids: Collection[UUID]) -> list[NamesRow]:
    """Return what versions call each of these sources."""
    return await transaction.rows(_NAMES, {"ids": list(source_ids), "most": MOST_NAMED}, row=NamesRow)


async def workflows(transaction: Transaction, source_ids: Collection[UUID]) -> list[UsingWorkflow]:
    """Return whose current versions name each of these sources: of each the first `MOST_NAMED`, by path."""
    return await transaction.rows(_WORKFLOWS, {"ids": list(source_ids), "most": MOST_NAMED}, row=UsingWorkflow)


async def deployed(transaction: Transaction, source_ids: Collection[UUID]) -> list[DeployedRow]:
    """Return who deployed the first version that names each of these sources."""
    return await transaction.rows(_DEPLOYED, {"ids": list(source_ids)}, row=DeployedRow)
