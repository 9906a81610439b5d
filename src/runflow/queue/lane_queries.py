"""SQL of what a process knows of lanes (`board.py`), and of what lanes need."""

from dataclasses import dataclass
from uuid import UUID

from runflow.db.transaction import Fetched, Transaction
from runflow.workflows.runtime.large_models import LargeModels

_WAITING = """
    SELECT l.id, l.org_id, l.version_id, l.gpu_class, l.fingerprint, l.models_key, l.priority, l.depth,
           l.expected_seconds, coalesce(l.load_seconds, 0) AS load_seconds, l.least_gb,
           coalesce(s.virtual_time, 0) AS virtual_time,
           extract(epoch FROM coalesce(l.oldest_at, clock_timestamp()))::float8 AS oldest_at,
           extract(epoch FROM l.claimed_at)::float8 AS claimed_at,
           extract(epoch FROM clock_timestamp())::float8 AS read_at, l.workflow_id,
           CASE WHEN w.id IS NOT NULL THEN w.max_running - running_of_workflow(w.id) END AS workflow_room,
           CASE WHEN CAST(%(most_running)s AS integer) IS NOT NULL
               THEN CAST(%(most_running)s AS integer) - running_of_organization(l.org_id) END AS organization_room
    FROM lanes l LEFT JOIN fair_shares s ON s.org_id = l.org_id
    LEFT JOIN workflows w ON w.id = l.workflow_id AND w.max_running IS NOT NULL
    WHERE l.depth > 0
"""

_SOME_WAITING = f"{_WAITING} AND l.id = ANY(%(lanes)s)"

_FULL = """
    SELECT (SELECT w.max_running FROM lanes l JOIN workflows w ON w.id = l.workflow_id
            WHERE l.id = %(lane)s AND w.max_running <= running_of_workflow(w.id)) AS of_workflow,
           (SELECT CAST(%(most_running)s AS integer) FROM lanes l
            WHERE l.id = %(lane)s AND CAST(%(most_running)s AS integer) <= running_of_organization(l.org_id))
               AS of_organization
"""

_STANDING = """
    SELECT coalesce((SELECT draining OR coalesce(paused_until > clock_timestamp(), false) OR instance <> %(instance)s
                     FROM workers WHERE id = %(worker)s), true) AS is_kept_away,
           ARRAY(SELECT lane_id FROM lane_refusals WHERE worker_id = %(worker)s) AS refused
"""

_MODELS = """
    SELECT id AS version_id, org_id, models::text AS models,
           CASE WHEN environment::text LIKE '%%"sha256"%%' THEN environment::text END AS environment,
           CASE WHEN models IS NULL OR models::text IN ('null', '{}', '[]') THEN workflow_json::text END AS prompt
    FROM workflow_versions WHERE id IN (
        SELECT id FROM (
            SELECT id, row_number() OVER (ORDER BY id) AS place, sum(
                coalesce(pg_column_size(models), 0) + coalesce(pg_column_size(environment), 0) + CASE
                    WHEN models IS NULL OR models::text IN ('null', '{}', '[]') THEN pg_column_size(workflow_json)
                    ELSE 0 END) OVER (ORDER BY id) AS stored
            FROM workflow_versions WHERE id = ANY(%(versions)s)) AS sized
        WHERE stored <= %(most_stored)s OR place = 1)
"""

_SIZES = "SELECT org_id, sha256, size_bytes FROM models WHERE sha256 = ANY(%(hashes)s)"

# Nobody waits for a lane that a claim holds: whoever reads it next finds out again.
_NOTE_MODELS = """
    UPDATE lanes l SET models_key = n.key, load_seconds = n.seconds, models_gb = n.gb
    FROM unnest(CAST(%(lanes)s AS uuid[]), CAST(%(keys)s AS text[]), CAST(%(seconds)s AS float8[]),
                CAST(%(gbs)s AS integer[])) AS n(id, key, seconds, gb)
    WHERE l.id = n.id AND l.id IN (
        SELECT id FROM lanes WHERE id = ANY(%(lanes)s) AND models_key IS NULL ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
"""


@dataclass(frozen=True, slots=True)
class WaitingLane:
    """A lane with waiting runs. Times are seconds of the database's clock, which read `read_at`."""

    id: UUID
    org_id: UUID
    version_id: UUID
    gpu_class: str
    fingerprint: str
    models_key: str | None
    priority: int
    depth: int
    expected_seconds: float
    load_seconds: float
    least_gb: int
    virtual_time: float
    oldest_at: float
    claimed_at: float | None
    read_at: float
    workflow_id: UUID | None
    workflow_room: int | None
    """How many more runs of its workflow may be worked on; None where that has no cap."""
    organization_room: int | None
    """The same of its organization."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a worker gets anything at the moment, and which lanes are kept from it."""

    is_kept_away: bool
    refused: list[UUID]


@dataclass(frozen=True, slots=True)
class FullCaps:
    """How many runs of a lane's workflow and organization may be worked on, where so many are; else None."""

    of_workflow: int | None
    of_organization: int | None


@dataclass(frozen=True, slots=True)
class VersionModels:
    """The documents of a version that tell which models it loads, as JSON text; the prompt where no others do."""

    version_id: UUID
    org_id: UUID
    models: str | None
    environment: str | None
    """None as well where it names no file of a cache by its content."""
    prompt: str | None


@dataclass(frozen=True, slots=True)
class UploadedSize:
    """How large a content is that an organization has uploaded."""

    org_id: UUID
    sha256: str
    size_bytes: int


async def waiting(
    transaction: Transaction, lanes: list[UUID] | None = None, *, most_running: int | None = None
) -> Fetched[WaitingLane]:
    """Look for lanes with waiting runs, among these or all; after the transaction they can be fetched.

    `most_running`: so many runs of an organization may be worked on at a time.
    """
    if lanes is None:
        return await transaction.later(_WAITING, {"most_running": most_running}, row=WaitingLane)
    return await transaction.later(_SOME_WAITING, {"lanes": lanes, "most_running": most_running}, row=WaitingLane)


async def full(transaction: Transaction, *, lane: UUID, most_running: int | None) -> FullCaps:
    """Return the caps by which no further run of a lane may be worked on at the moment."""
    return await transaction.one(_FULL, {"lane": lane, "most_running": most_running}, row=FullCaps)


async def standing(transaction: Transaction, worker: UUID, instance: UUID) -> Standing:
    """Return what keeps runs from this life of a worker, whatever it can do."""
    return await transaction.one(_STANDING, {"worker": worker, "instance": instance}, row=Standing)


async def models_of(transaction: Transaction, versions: list[UUID], *, most_stored: int) -> list[VersionModels]:
    """Return what tells which models these versions load: of as many as fit so many bytes as stored, but of one."""
    return await transaction.rows(_MODELS, {"versions": versions, "most_stored": most_stored}, row=VersionModels)


async def uploaded_sizes(transaction: Transaction, hashes: list[str]) -> list[UploadedSize]:
    """Return how large these contents are, where somebody has uploaded them."""
    return await transaction.rows(_SIZES, {"hashes": hashes}, row=UploadedSize)


async def note_models(transaction: Transaction, needs: dict[UUID, LargeModels]) -> None:
    """Keep, by lane, the key of its models, and what loading and holding them is expected to take.

    Not of a lane that somebody holds at the moment.
    """
    ordered = sorted(needs)
    values = {
        "lanes": ordered,
        "keys": [needs[lane].key for lane in ordered],
        "seconds": [needs[lane].load_seconds for lane in ordered],
        "gbs": [needs[lane].memory_gb for lane in ordered],
    }
    await transaction.run(_NOTE_MODELS, values)
