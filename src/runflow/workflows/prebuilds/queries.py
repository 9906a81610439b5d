"""SQL of pre-builds as the organization that asks for them sees them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from runflow.db.transaction import Transaction


class PrebuildState(StrEnum):
    """How far a pre-build is. `waiting_for_approval` is never stored: it is queued, and nobody may begin."""

    QUEUED = "queued"
    WAITING_FOR_APPROVAL = "waiting_for_approval"
    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"


# What a worker is at goes on; everything else begins anew.
_ASK = """
    INSERT INTO prebuilds AS p (version_id, org_id, workflow_id, requested_by)
    VALUES (%(version)s, %(org)s, %(workflow)s, %(key)s)
    ON CONFLICT (version_id) DO UPDATE SET state_code = 'queued', requested_at = clock_timestamp(),
        requested_by = excluded.requested_by, due_at = clock_timestamp(), tries = 0, worker_id = NULL,
        worker_name = NULL, instance = NULL, lease_id = NULL, lease_expires_at = NULL, ended_at = NULL, step = NULL,
        pack = NULL, message = NULL, log = ''
    WHERE p.state_code <> 'building'
"""

# Of the organization whose transaction it is. No more are counted than matter.
_OPEN = """
    SELECT count(*) FROM (
        SELECT FROM prebuilds WHERE state_code IN ('queued', 'building') AND version_id <> %(version)s
        LIMIT %(most)s) AS counted
"""

_ONE = """
    SELECT version_id, state_code, requested_at, started_at, ended_at, worker_name, tries, step, pack, message, log
    FROM prebuilds WHERE version_id = %(version)s
"""


@dataclass(frozen=True, slots=True)
class PrebuildRow:
    """A pre-build as it is shown."""

    version_id: UUID
    state_code: str
    requested_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    worker_name: str | None
    tries: int
    step: str | None
    pack: str | None
    message: str | None
    log: str


async def ask(transaction: Transaction, *, version: UUID, org: UUID, workflow: UUID, key: UUID | None) -> None:
    """Queue the pre-build of a version, or queue it again; one that a worker is at stays."""
    await transaction.run(_ASK, {"version": version, "org": org, "workflow": workflow, "key": key})


async def count_open(transaction: Transaction, *, but: UUID, most: int) -> int:
    """Return how many pre-builds of the tenant are open beside that of a version; at most `most` are counted."""
    return await transaction.one_value(_OPEN, {"version": but, "most": most}, of=int)


async def one(transaction: Transaction, version_id: UUID) -> PrebuildRow | None:
    """Return the pre-build of a version, None where nobody asked for one."""
    return await transaction.first(_ONE, {"version": version_id}, row=PrebuildRow)


def record(row: PrebuildRow, *, waits: bool = False) -> dict[str, Any]:
    """Return a pre-build as the wire shows it. `waits`: nobody may begin before the operator has approved something."""
    is_waiting = waits and row.state_code == PrebuildState.QUEUED
    return {
        "version_id": row.version_id,
        "state_code": PrebuildState.WAITING_FOR_APPROVAL if is_waiting else PrebuildState(row.state_code),
        "requested_at": row.requested_at,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        "worker": row.worker_name,
        "tries": row.tries,
        "step": row.step,
        "pack": row.pack,
        "message": row.message,
        "log": row.log,
    }
