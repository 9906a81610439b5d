"""SQL of what decides which workers may run a version, beside the version's own documents."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from runflow.db.transaction import Transaction
from runflow.protocol.runtimes import MOST_SOURCES

_INSTALLATION = """
    SELECT (SELECT id FROM organizations ORDER BY created_at, id LIMIT 1) AS operator,
           (SELECT count(*) > 1 FROM (SELECT FROM organizations LIMIT 2) AS two) AS several
"""

_LABELS = "SELECT id AS workflow_id, worker_labels FROM workflows WHERE worker_labels IS NOT NULL"

_UPLOADS = "SELECT org_id, sha256 FROM models WHERE sha256 = ANY(%(hashes)s)"

_LANE_MEMORY = """
    SELECT least_gb, models_key IS NOT NULL AS are_models_known FROM lanes
    WHERE version_id = %(version)s AND org_id = %(org)s AND gpu_class = %(gpu_class)s
"""


_APPROVED = """
    SELECT s.origin, s.commit FROM version_sources n JOIN sources s ON s.id = n.source_id
    WHERE n.version_id = %(version)s AND s.state_code = 'approved' ORDER BY s.origin, s.commit LIMIT %(most)s
"""

_NOTE_BUILD = """
    INSERT INTO runtime_builds (version_id, runtime, is_permanent, worker_name, succeeded, elapsed_ms,
                                step, pack, message, log)
    SELECT %(version)s, %(runtime)s, %(is_permanent)s, name, %(succeeded)s, %(elapsed_ms)s, %(step)s, %(pack)s,
           %(message)s, %(log)s
    FROM workers WHERE id = %(worker)s
    ON CONFLICT (version_id, worker_name) DO UPDATE SET
        runtime = excluded.runtime, is_permanent = excluded.is_permanent,
        succeeded = excluded.succeeded, elapsed_ms = excluded.elapsed_ms, step = excluded.step, pack = excluded.pack,
        message = excluded.message, log = excluded.log, ended_at = clock_timestamp()
"""

_FORGET_BUILDS = """
    DELETE FROM runtime_builds WHERE ended_at < (
        SELECT ended_at FROM runtime_builds ORDER BY ended_at DESC OFFSET %(most)s LIMIT 1)
"""

_BUILDS = """
    SELECT worker_name, runtime, succeeded, elapsed_ms, step, pack, message, log, ended_at
    FROM runtime_builds
    WHERE version_id = %(version)s
    ORDER BY ended_at DESC LIMIT %(most)s
"""

_FOUND = """
    WITH source AS (
        INSERT INTO sources AS s (id, origin, commit) VALUES (%(id)s, %(origin)s, %(commit)s)
        ON CONFLICT (origin, commit) DO UPDATE SET origin = s.origin RETURNING id)
    INSERT INTO version_sources (org_id, version_id, source_id, kind_code, names, packages_count)
    SELECT v.org_id, v.id, source.id, 'package', ARRAY[CAST(%(name)s AS text)], 0
    FROM workflow_versions v, source WHERE v.id = %(version)s
    ON CONFLICT (version_id, source_id) DO NOTHING
"""

_FOUND_UNAPPROVED = """
    SELECT n.version_id, n.names[1] AS name, s.origin, s.commit
    FROM version_sources n JOIN sources s ON s.id = n.source_id
    WHERE n.kind_code = 'package' AND s.state_code <> 'approved'
    ORDER BY s.first_seen_at DESC LIMIT %(most)s
"""

# A worker that starts anew may be another one, and who asks for the pre-build wants it tried.
_FAILED = """
    SELECT b.version_id, w.id AS worker_id, coalesce(b.message, '') AS message
    FROM runtime_builds b JOIN workers w ON w.name = b.worker_name
    WHERE b.is_permanent AND b.ended_at > w.instance_at AND NOT EXISTS (
        SELECT FROM prebuilds p WHERE p.version_id = b.version_id AND p.requested_at > b.ended_at)
"""

# Approved after the run was offered: the worker could not know yet. Before: it will not take it next time either.
_MAY_COME = """
    SELECT state_code <> 'approved' OR coalesce(decided_at >= %(offered_at)s, false) FROM sources
    WHERE origin = %(origin)s AND commit = %(commit)s
"""

MOST_FOUND = 10_000
MOST_BUILDS = 2_000
"""How many builds are remembered, each with a log of 64 KiB at most."""
MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class ApprovedSource:
    """A source that may be fetched."""

    origin: str
    commit: str


@dataclass(frozen=True, slots=True)
class BuildRow:
    """How a build went."""

    worker_name: str
    runtime: str | None
    succeeded: bool
    elapsed_ms: int
    step: str | None
    pack: str | None
    message: str | None
    log: str
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class InstallationRow:
    """Whose installation it is, and whether there are organizations beside the operator's."""

    operator: UUID | None
    several: bool


@dataclass(frozen=True, slots=True)
class LabelledWorkflow:
    """A workflow that asks for labels."""

    workflow_id: UUID
    worker_labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class UploadedModel:
    """A model that an organization has uploaded."""

    org_id: UUID
    sha256: str


async def installation(transaction: Transaction) -> InstallationRow:
    """Return whose installation it is."""
    return await transaction.one(_INSTALLATION, row=InstallationRow)


async def labels(transaction: Transaction) -> list[LabelledWorkflow]:
    """Return the workflows that ask for labels."""
    return await transaction.rows(_LABELS, row=LabelledWorkflow)


async def uploads(transaction: Transaction, hashes: Collection[str]) -> list[UploadedModel]:
    """Return which organizations have uploaded models of these contents."""
    return await transaction.rows(_UPLOADS, {"hashes": list(hashes)}, row=UploadedModel)


async def approved_sources(transaction: Transaction, version_id: UUID) -> list[ApprovedSource]:
    """Return what a version names, or a build of it found, and the operator has approved."""
    return await transaction.rows(_APPROVED, {"version": version_id, "most": MOST_SOURCES}, row=ApprovedSource)


async def note_build(transaction: Transaction, values: Mapping[str, Any]) -> None:
    """Keep how a worker's build went, instead of what is known of its build before; forget the oldest of too many."""
    await transaction.run(_NOTE_BUILD, values)
    await transaction.run(_FORGET_BUILDS, {"most": MOST_BUILDS})


async def builds(transaction: Transaction, version_id: UUID) -> list[BuildRow]:
    """Return the last builds of a version's runtime, one of each worker."""
    return await transaction.rows(_BUILDS, {"version": version_id, "most": MOST_SHOWN}, row=BuildRow)


async def note_found_source(transaction: Transaction, values: Mapping[str, Any]) -> None:
    """Note a source that a build of a version found to be needed, and that waits unless it is known."""
    await transaction.run(_FOUND, values)


@dataclass(frozen=True, slots=True)
class FoundSource:
    """A package's source that a build of a version found to be needed, and that is not approved."""

    version_id: UUID
    name: str
    origin: str
    commit: str


@dataclass(frozen=True, slots=True)
class FailedBuild:
    """A build that failed on a worker for a reason that stays."""

    version_id: UUID
    worker_id: UUID
    message: str


async def failed_builds(transaction: Transaction) -> list[FailedBuild]:
    """Return the builds that would fail again, of workers that have not started anew and were not asked again."""
    return await transaction.rows(_FAILED, row=FailedBuild)


async def found_sources(transaction: Transaction) -> list[FoundSource]:
    """Return what builds have found to be needed and the operator has not approved, the newest 10,000."""
    return await transaction.rows(_FOUND_UNAPPROVED, {"most": MOST_FOUND}, row=FoundSource)


async def may_be_approved(transaction: Transaction, *, origin: str, commit: str, offered_at: datetime) -> bool:
    """Tell whether a source is not approved, or was only after a run was offered."""
    values = {"origin": origin, "commit": commit, "offered_at": offered_at}
    return await transaction.one_value(_MAY_COME, values, of=bool)


@dataclass(frozen=True, slots=True)
class LaneMemory:
    """GiB that a GPU must have for a lane's runs, and whether the size of its models is in it."""

    least_gb: int
    are_models_known: bool


async def lane_memory(transaction: Transaction, *, org: UUID, version: UUID, gpu_class: str) -> LaneMemory | None:
    """Return what is known of the memory that an organization's runs of a version need; None before the first one."""
    values = {"org": org, "version": version, "gpu_class": gpu_class}
    return await transaction.first(_LANE_MEMORY, values, row=LaneMemory)
