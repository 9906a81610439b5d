"""SQL of pre-builds as workers are given them, and as they end."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from runflow.db.transaction import Transaction

# The organization that waited longest for one to begin comes first: a hundred of one keep those of others waiting for
# one of them.
_OPEN = """
    SELECT p.version_id, p.org_id, w.gpu_mode, w.gpu_explicit_models, w.worker_labels
    FROM prebuilds p JOIN workflows w ON w.id = p.workflow_id
    LEFT JOIN LATERAL (SELECT max(o.started_at) AS at FROM prebuilds o WHERE o.org_id = p.org_id) last ON true
    WHERE w.deleted_at IS NULL AND p.state_code IN ('queued', 'building')
        AND CASE p.state_code WHEN 'queued' THEN p.due_at ELSE p.lease_expires_at END <= clock_timestamp()
    ORDER BY last.at NULLS FIRST, p.requested_at LIMIT %(most)s
"""

_GIVE_UP = """
    UPDATE prebuilds SET state_code = 'failed', lease_id = NULL, ended_at = clock_timestamp(), step = NULL,
        message = 'The worker ' || worker_name || ' stopped answering, as ' || tries - 1 || ' before it did. '
            || 'Look at its log, then ask for the pre-build again.'
    WHERE state_code = 'building' AND lease_expires_at <= clock_timestamp() AND tries >= %(most_tries)s
"""

_CLAIM = """
    UPDATE prebuilds p SET state_code = 'building', worker_id = w.id, worker_name = w.name, instance = w.instance,
        lease_id = %(lease)s, lease_expires_at = clock_timestamp() + make_interval(secs => %(seconds)s),
        started_at = clock_timestamp(), ended_at = NULL, tries = p.tries + 1, step = NULL, pack = NULL, message = NULL,
        log = ''
    FROM workers w
    WHERE p.version_id = %(version)s AND p.state_code IN ('queued', 'building')
        AND CASE p.state_code WHEN 'queued' THEN p.due_at ELSE p.lease_expires_at END <= clock_timestamp()
        AND w.id = %(worker)s AND w.instance = %(instance)s AND NOT w.draining
        AND NOT EXISTS (SELECT FROM prebuilds o WHERE o.instance = w.instance AND o.state_code = 'building'
                        AND o.lease_expires_at > clock_timestamp())
        AND NOT EXISTS (SELECT FROM run_attempts a WHERE a.worker_id = w.id AND a.status_code IN ('offered', 'live'))
    RETURNING p.lease_expires_at
"""

_RENEW = """
    UPDATE prebuilds p SET lease_expires_at = clock_timestamp() + make_interval(secs => %(seconds)s),
        step = coalesce(%(step)s, p.step), message = coalesce(%(message)s, p.message)
    FROM workflows w
    WHERE p.lease_id = %(lease)s AND p.worker_id = %(worker)s AND p.instance = %(instance)s
        AND w.id = p.workflow_id AND w.deleted_at IS NULL
    RETURNING p.lease_expires_at
"""

_HELD = """
    SELECT version_id, tries FROM prebuilds
    WHERE lease_id = %(lease)s AND worker_id = %(worker)s AND instance = %(instance)s FOR UPDATE
"""

_END = """
    UPDATE prebuilds SET state_code = %(state)s, lease_id = NULL, lease_expires_at = NULL, step = %(step)s,
        pack = %(pack)s, message = %(message)s, log = %(log)s, tries = tries - %(untried)s,
        due_at = clock_timestamp() + make_interval(secs => %(pause)s),
        ended_at = CASE WHEN %(state)s = 'queued' THEN NULL ELSE clock_timestamp() END
    WHERE lease_id = %(lease)s
"""


@dataclass(frozen=True, slots=True)
class OpenPrebuild:
    """A pre-build that a worker may begin, with what its workflow asks of workers."""

    version_id: UUID
    org_id: UUID
    gpu_mode: str
    gpu_explicit_models: list[str]
    worker_labels: dict[str, str] | None


@dataclass(frozen=True, slots=True)
class HeldPrebuild:
    """A pre-build that a worker has, and how often workers have begun it."""

    version_id: UUID
    tries: int


async def open_ones(transaction: Transaction, *, most: int, most_tries: int) -> list[OpenPrebuild]:
    """Return pre-builds that may be begun, in turn; give up those whose workers have been lost too often."""
    await transaction.run(_GIVE_UP, {"most_tries": most_tries})
    return await transaction.rows(_OPEN, {"most": most}, row=OpenPrebuild)


async def claim(
    transaction: Transaction, *, version: UUID, worker: UUID, instance: UUID, lease: UUID, seconds: float
) -> datetime | None:
    """Give a pre-build to a worker that has nothing else, and return until when; None where that is no longer so."""
    values = {"version": version, "worker": worker, "instance": instance, "lease": lease, "seconds": seconds}
    return await transaction.value(_CLAIM, values, of=datetime)


async def renew(
    transaction: Transaction,
    *,
    lease: UUID,
    worker: UUID,
    instance: UUID,
    seconds: float,
    step: str | None,
    message: str | None,
) -> datetime | None:
    """Renew a lease and note how far it is; None where the lease is over, or its workflow deleted."""
    values = {"lease": lease, "worker": worker, "instance": instance, "seconds": seconds}
    return await transaction.value(_RENEW, {**values, "step": step, "message": message}, of=datetime)


async def hold(transaction: Transaction, *, lease: UUID, worker: UUID, instance: UUID) -> HeldPrebuild | None:
    """Lock the pre-build of a lease, None where the worker has it no more."""
    return await transaction.first(_HELD, {"lease": lease, "worker": worker, "instance": instance}, row=HeldPrebuild)


async def end(transaction: Transaction, lease: UUID, values: Mapping[str, Any]) -> None:
    """End a lease. `values`: the state, how it went, whether it counts as a try, and when it is due again."""
    await transaction.run(_END, {**values, "lease": lease})
