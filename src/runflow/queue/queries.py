"""SQL of intake, claims and leases; what ends a run stands in `completion_queries.py`.

Rows are locked in one order everywhere: run, attempt, lane, fair share, batch. A lane's counts move in the transaction
that moves its runs.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from runflow.db.transaction import Fetched, Transaction
from runflow.protocol.events import FIRST_OF_SERVER, NUMBERS_PER_ATTEMPT, Preview
from runflow.queue.rows import (
    HeldRun,
    LaneLoad,
    OfferedRun,
    QueuedRun,
    RenewedLease,
    RunPlace,
    SmallGpu,
    UploadingLease,
)

ATTEMPT_LIMIT = 3
"""Attempts of one run (docs/leases.md, "Trying again"). What a worker gave back untouched is none: the next attempt's
number goes on from it all the same, because numbers of events do."""

# ------------------------------------------------------------------------------------------------------------- intake
_INSERT_RUNS = """
    INSERT INTO runs (id, org_id, comfyui_workflow_id, version_id, target_version, source_code, input, metadata,
                      client_ref, callback_url, request_id, created_by, lane_id, gpu_class, priority, timeout_seconds,
                      batch_id, batch_index, rerun_of)
    SELECT id, current_org(), comfyui_workflow_id, version_id, target_version, source_code, input, metadata,
           client_ref, callback_url, request_id, created_by, lane_id, gpu_class, priority, timeout_seconds,
           batch_id, batch_index, rerun_of
    FROM json_to_recordset(CAST(%(rows)s AS json)) AS r(
        id uuid, comfyui_workflow_id uuid, version_id uuid, target_version text, source_code text, input json,
        metadata json, client_ref text, callback_url text, request_id text, created_by uuid, lane_id uuid,
        gpu_class text, priority integer, timeout_seconds integer, batch_id uuid, batch_index integer, rerun_of uuid)
    RETURNING id, created_at
"""

_ENTER_LANE = "SELECT enter_lane(%(lane)s, %(version)s, %(gpu_class)s, %(fingerprint)s, %(count)s, %(priority)s)"


async def insert_runs(transaction: Transaction, runs: list[dict[str, Any]]) -> Fetched[QueuedRun]:
    """Insert queued runs of the transaction's tenant; they can be fetched after the commit."""
    return await transaction.later(_INSERT_RUNS, {"rows": orjson.dumps(runs).decode()}, row=QueuedRun)


async def enter_lane(
    transaction: Transaction,
    *,
    lane: UUID,
    version: UUID,
    gpu_class: str,
    fingerprint: str,
    count: int,
    priority: int,
) -> None:
    """Count `count` more runs into a lane, making it when it is new. The last statement before the commit."""
    await transaction.run(
        _ENTER_LANE,
        {
            "lane": lane,
            "version": version,
            "gpu_class": gpu_class,
            "fingerprint": fingerprint,
            "count": count,
            "priority": priority,
        },
    )


# -------------------------------------------------------------------------------------------------------------- claim
# What `next` shows, another claim may have taken: where runs differ in priority, the lane's is looked up anew.
_CLAIM = """
    WITH picked AS (
        SELECT id FROM runs WHERE lane_id = %(lane)s AND status_code = 'queued' AND NOT EXISTS (
            SELECT FROM workers WHERE id = %(worker)s
                AND (draining OR paused_until > clock_timestamp() OR instance <> %(instance)s))
            AND NOT EXISTS (SELECT FROM lane_refusals WHERE worker_id = %(worker)s AND lane_id = %(lane)s)
            AND NOT EXISTS (SELECT FROM lanes WHERE id = %(lane)s AND %(memory_gb)s BETWEEN 1 AND least_gb - 1)
            AND (SELECT w.id IS NULL AND CAST(%(most_running)s AS integer) IS NULL OR has_room(l.id, %(most_running)s)
                 FROM lanes l LEFT JOIN workflows w ON w.id = l.workflow_id AND w.max_running IS NOT NULL
                 WHERE l.id = %(lane)s)
        ORDER BY priority DESC, queue_position LIMIT 1 FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE runs r SET status_code = 'dispatching' FROM picked WHERE r.id = picked.id
        RETURNING r.id, r.org_id, r.version_id, r.input, r.timeout_seconds, r.attempt_count
    ), next AS (
        SELECT r.created_at FROM runs r, picked
        WHERE r.lane_id = %(lane)s AND r.status_code = 'queued' AND r.id <> picked.id
        ORDER BY r.priority DESC, r.queue_position LIMIT 1
    ), moved AS (
        UPDATE lanes l SET depth = l.depth - 1, running = l.running + 1,
            oldest_at = (SELECT created_at FROM next), claimed_at = clock_timestamp(),
            priority = CASE WHEN l.priority = 0 AND NOT EXISTS (
                    SELECT FROM runs WHERE lane_id = %(lane)s AND status_code = 'queued' AND priority < 0)
                THEN 0 ELSE first_priority(l.id) END
        FROM claimed WHERE l.id = %(lane)s
        RETURNING l.org_id, l.gpu_class, l.fingerprint, l.models_key, l.expected_seconds,
                  coalesce(l.load_seconds, 0) AS load_seconds, l.least_gb, l.depth AS left, l.priority,
                  l.expected_seconds + CASE WHEN %(loads)s THEN coalesce(l.load_seconds, 0) ELSE 0 END AS cost
    ), offered AS (
        INSERT INTO run_attempts (id, org_id, run_id, worker_id, worker_instance, gpu_code, status_code, expires_at,
                                  charged_seconds)
        SELECT %(lease)s, claimed.org_id, id, %(worker)s, %(instance)s, %(gpu_code)s, 'offered',
               clock_timestamp() + make_interval(secs => %(offer_seconds)s), cost
        FROM claimed, moved RETURNING expires_at
    ), charged AS (
        INSERT INTO fair_shares AS s (org_id, virtual_time)
        SELECT org_id, cost FROM moved
        ON CONFLICT (org_id) DO UPDATE
            SET virtual_time = greatest(s.virtual_time, %(least)s) + excluded.virtual_time
        RETURNING virtual_time
    )
    SELECT claimed.*, offered.expires_at, moved.gpu_class, moved.fingerprint, moved.models_key, moved.expected_seconds,
           moved.load_seconds, moved.least_gb, moved.left, moved.priority, charged.virtual_time
    FROM claimed, offered, moved, charged
"""


async def claim(
    transaction: Transaction,
    *,
    lane: UUID,
    lease: UUID,
    worker: UUID,
    instance: UUID,
    gpu_code: str,
    memory_gb: int,
    offer_seconds: float,
    loads: bool,
    most_running: int | None,
    least: float,
) -> Fetched[OfferedRun]:
    """Take the first run of a lane under a new, offered lease; its row is there to fetch after the transaction.

    There is none when another claim was faster, for a worker that is draining or kept away for a while, for an earlier
    life of it, for one that the lane is kept from, or whose GPU has less than the memory that the lane needs
    (`memory_gb`, 0: none, or not known); nor where as many runs of its workflow are leased as may be, or `most_running`
    of its organization. Where the worker `loads` models for it, the organization is charged for that, too. Before this
    run it is taken to have had `least` engine time.
    """
    values = {
        "lane": lane,
        "lease": lease,
        "worker": worker,
        "instance": instance,
        "gpu_code": gpu_code,
        "memory_gb": memory_gb,
        "offer_seconds": offer_seconds,
        "loads": loads,
        "most_running": most_running,
        "least": least,
    }
    return await transaction.later(_CLAIM, values, row=OfferedRun)


# ---------------------------------------------------------------------------------------------------------- the lease
_HELD = """
    SELECT r.id AS run_id, r.org_id, r.comfyui_workflow_id, r.lane_id, r.batch_id, r.status_code AS run_status,
           r.attempt_count, r.lapsed_offers, r.created_at, r.metadata, r.client_ref, r.callback_url, r.request_id,
           r.cost,
           EXISTS (SELECT FROM budgets b WHERE b.org_id = r.org_id AND budget_left(b) IS NOT NULL) AS has_budget,
           EXISTS (SELECT FROM webhooks w WHERE w.org_id = r.org_id AND w.disabled_at IS NULL) AS has_webhooks,
           w.auto_evaluate, w.max_running IS NOT NULL AS is_capped,
           a.id AS lease_id, a.status_code AS lease_status, a.number, a.gpu_code, a.offered_at, a.result_hash,
           a.started_at AS attempt_started_at, r.started_at AS run_started_at, r.completed_at AS run_ended_at,
           clock_timestamp() AS now, m.instance_at AS worker_came_at, m.ready_at AS worker_ready_at,
           (SELECT max(t.completed_at) FROM run_attempts t WHERE t.run_id = r.id AND t.id <> a.id) AS requeued_at,
           (SELECT count(*) FROM run_attempts t WHERE t.run_id = r.id) AS tries,
           EXISTS (SELECT FROM run_attempts t WHERE t.run_id = r.id AND t.failure_code = 'OUT_OF_MEMORY') AS ran_out
    FROM runs r JOIN run_attempts a ON a.run_id = r.id LEFT JOIN workflows w ON w.id = r.comfyui_workflow_id
    LEFT JOIN workers m ON m.id = a.worker_id AND m.instance = a.worker_instance
    WHERE a.id = %(lease)s AND a.worker_id = %(worker)s AND a.worker_instance = %(instance)s
      AND (CAST(%(token)s AS uuid) IS NULL
           OR EXISTS (SELECT FROM workers t WHERE t.id = a.worker_id AND t.token_id = %(token)s))
    FOR UPDATE OF r, a
"""

_HELD_BY_NOBODY_ELSE = f"{_HELD} SKIP LOCKED"

_UPLOADING = """
    SELECT a.run_id, a.status_code AS lease_status, r.completed_at IS NOT NULL AS run_ended
    FROM run_attempts a JOIN runs r ON r.id = a.run_id JOIN workers w ON w.id = a.worker_id
    WHERE a.id = %(lease)s AND a.worker_id = %(worker)s AND a.worker_instance = %(instance)s AND w.token_id = %(token)s
"""

_GPU_OF = """
    SELECT r.org_id, r.comfyui_workflow_id, r.version_id, r.lane_id, r.gpu_class,
           CASE WHEN a.gpu_code = 'CPU' THEN 0 ELSE coalesce(nullif(w.memory_gb, 0), g.memory_gb, 0) END AS memory_gb
    FROM run_attempts a JOIN runs r ON r.id = a.run_id JOIN workers w ON w.id = a.worker_id
    LEFT JOIN gpus g ON g.code = a.gpu_code
    WHERE a.id = %(lease)s AND a.worker_id = %(worker)s
"""

_TAKES_OUTPUTS = """
    SELECT EXISTS (
        SELECT FROM run_attempts a JOIN runs r ON r.id = a.run_id
        WHERE a.id = %(lease)s AND r.id = %(run)s AND a.status_code IN ('offered', 'live') AND r.completed_at IS NULL)
"""

_IS_FOREIGN = """
    SELECT v.org_id <> r.org_id FROM runs r JOIN workflow_versions v ON v.id = r.version_id WHERE r.id = %(run)s
"""

_RENEW = """
    WITH renewed AS (
        UPDATE run_attempts SET status_code = 'live', number = %(number)s,
            started_at = coalesce(started_at, clock_timestamp()),
            expires_at = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
        WHERE id = %(lease)s RETURNING run_id, expires_at
    )
    UPDATE runs r SET
        attempt_count = greatest(r.attempt_count, %(number)s),
        status_code = CASE WHEN %(running)s AND r.status_code = 'dispatching' THEN 'running' ELSE r.status_code END,
        started_at = CASE WHEN %(running)s THEN coalesce(r.started_at, clock_timestamp()) ELSE r.started_at END,
        nodes_completed = coalesce(%(nodes_completed)s, r.nodes_completed),
        nodes_total = coalesce(%(nodes_total)s, r.nodes_total),
        has_logs = r.has_logs OR %(has_logs)s
    FROM renewed WHERE r.id = renewed.run_id
    RETURNING renewed.expires_at
"""

_EVENTS = """
    INSERT INTO run_events (org_id, run_id, attempt_id, sequence, id, type_code, data, created_at)
    SELECT %(org)s, %(run)s, %(lease)s, %(base)s + number, e.id, type, data, at
    FROM json_to_recordset(CAST(%(events)s AS json))
        AS e(id uuid, number integer, type text, data json, at timestamptz)
    ON CONFLICT DO NOTHING
"""

DISPATCHING = 0
"""The number, within an attempt, of the event that a worker has taken it up."""
QUEUED_AGAIN = FIRST_OF_SERVER + 1
"""The number, within an attempt, of the event that the run goes back to its lane."""


async def held(
    transaction: Transaction, *, lease: UUID, worker: UUID, instance: UUID, token: UUID | None, waits: bool = True
) -> HeldRun | None:
    """Lock and return a lease with its run, whatever state it is in. None when this worker never had it.

    `token` is the worker token that whoever asks has sent; None where the server asks for itself. With `waits=False`
    also None where somebody else has it locked at this moment.
    """
    values = {"lease": lease, "worker": worker, "instance": instance, "token": token}
    return await transaction.first(_HELD if waits else _HELD_BY_NOBODY_ELSE, values, row=HeldRun)


async def uploading(
    transaction: Transaction, *, lease: UUID, worker: UUID, instance: UUID, token: UUID
) -> UploadingLease | None:
    """Return how a lease stands for whoever wants to store outputs, without locking it. None as `held`."""
    values = {"lease": lease, "worker": worker, "instance": instance, "token": token}
    return await transaction.first(_UPLOADING, values, row=UploadingLease)


async def gpu_of(transaction: Transaction, *, lease: UUID, worker: UUID) -> SmallGpu | None:
    """Return on which GPU an attempt is, or was."""
    return await transaction.first(_GPU_OF, {"lease": lease, "worker": worker}, row=SmallGpu)


async def takes_outputs(transaction: Transaction, *, run: UUID, lease: UUID) -> bool:
    """Tell whether outputs may be stored for a lease: it is open, and its run has not ended."""
    return await transaction.one_value(_TAKES_OUTPUTS, {"run": run, "lease": lease}, of=bool)


async def is_foreign(transaction: Transaction, run: UUID) -> bool:
    """Tell whether a run is of another organization's workflow."""
    return bool(await transaction.value(_IS_FOREIGN, {"run": run}, of=bool))


async def renew(
    transaction: Transaction,
    *,
    lease: UUID,
    number: int,
    lease_seconds: float,
    running: bool,
    nodes_completed: int | None,
    nodes_total: int | None,
    has_logs: bool,
) -> Fetched[RenewedLease]:
    """Make a locked lease live for `lease_seconds` more; until when can be fetched after the transaction."""
    values = {
        "lease": lease,
        "number": number,
        "lease_seconds": lease_seconds,
        "running": running,
        "nodes_completed": nodes_completed,
        "nodes_total": nodes_total,
        "has_logs": has_logs,
    }
    return await transaction.later(_RENEW, values, row=RenewedLease)


async def add_events(
    transaction: Transaction, *, org: UUID, run: UUID, lease: UUID, number: int, events: list[dict[str, Any]]
) -> None:
    """Keep a worker's events, each number once."""
    values = {
        "org": org,
        "run": run,
        "lease": lease,
        "base": number * NUMBERS_PER_ATTEMPT,
        "events": orjson.dumps(events).decode(),
    }
    await transaction.run(_EVENTS, values)


_BACK_IN_LANE = """
    INSERT INTO run_events (org_id, run_id, sequence, type_code, data, created_at)
    SELECT %(org)s, %(run)s, %(base)s + number, 'status', json_build_object('status_code', code), at
    FROM (VALUES (%(dispatching)s, 'dispatching', CAST(%(forgotten_at)s AS timestamptz)),
                 (%(queued_again)s, 'queued', clock_timestamp()))
        AS told(number, code, at)
    WHERE at IS NOT NULL
    ON CONFLICT DO NOTHING
"""


async def back_in_lane(
    transaction: Transaction, *, org: UUID, run: UUID, number: int, forgotten_at: datetime | None = None
) -> None:
    """Keep as an event that a run waits again after this attempt (`runs/history/timeline.py` tells them).

    `forgotten_at`: when the attempt was offered, if its row goes away and cannot tell any more.
    """
    values = {
        "org": org,
        "run": run,
        "base": number * NUMBERS_PER_ATTEMPT,
        "forgotten_at": forgotten_at,
        "dispatching": DISPATCHING,
        "queued_again": QUEUED_AGAIN,
    }
    await transaction.run(_BACK_IN_LANE, values)


_RETURN_OFFER = """
    WITH gone AS (
        DELETE FROM run_attempts WHERE id = %(lease)s RETURNING org_id, charged_seconds
    ), back AS (
        UPDATE runs SET status_code = CASE status_code WHEN 'dispatching' THEN 'queued' ELSE status_code END,
            has_leftovers = true, attempt_count = greatest(attempt_count, %(beginnings)s)
        WHERE id = %(run)s
    ), lane AS (
        UPDATE lanes l SET running = l.running - 1, depth = l.depth + 1,
            oldest_at = least(l.oldest_at, CAST(%(created_at)s AS timestamptz)),
            priority = CASE WHEN l.depth = 0 THEN r.priority ELSE greatest(l.priority, r.priority) END
        FROM runs r WHERE l.id = %(lane)s AND r.id = %(run)s RETURNING l.org_id
    )
    UPDATE fair_shares s SET virtual_time = s.virtual_time - gone.charged_seconds
    FROM gone, lane WHERE s.org_id = lane.org_id
"""


async def return_offer(
    transaction: Transaction, *, lease: UUID, run: UUID, lane: UUID, created_at: datetime, beginnings: int = 0
) -> None:
    """Forget a locked offer: the run waits again, no attempt is counted, and its organization is charged nothing.

    `beginnings`: how often it was begun, where this one is to be remembered.
    """
    values = {"lease": lease, "run": run, "lane": lane, "created_at": created_at, "beginnings": beginnings}
    await transaction.run(_RETURN_OFFER, values)


# ----------------------------------------------------------------------------------------------------------- callbacks
_WORKFLOW_PATH = """
    SELECT o.slug || '/' || w.slug FROM workflows w JOIN organizations o ON o.id = w.org_id WHERE w.id = %(workflow)s
"""


async def workflow_path(transaction: Transaction, workflow: UUID) -> str:
    """Return `owner/slug` of a workflow, for callbacks."""
    return await transaction.one_value(_WORKFLOW_PATH, {"workflow": workflow}, of=str)


# ----------------------------------------------------------------------------------------------------------- pictures
_IS_WATCHED = "SELECT EXISTS (SELECT FROM run_previews WHERE run_id = %(run)s AND watched_until > now())"

_SHOW = """
    UPDATE run_previews SET number = greatest(number + 1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint),
        node_id = %(node_id)s, node_type = %(node_type)s,
        content_type = %(content_type)s, content = %(content)s, shown_at = now()
    WHERE run_id = %(run)s AND watched_until > now()
"""


async def is_watched(transaction: Transaction, run_id: UUID) -> bool:
    """Tell whether somebody follows the run and wants to see what its nodes show."""
    return await transaction.one_value(_IS_WATCHED, {"run": run_id}, of=bool)


async def show(transaction: Transaction, run_id: UUID, preview: Preview) -> None:
    """Put a picture where those who follow the run see it; where nobody does, it is dropped."""
    values = {name: getattr(preview, name) for name in ("node_id", "node_type", "content_type", "content")}
    await transaction.run(_SHOW, {"run": run_id, **values})


# ----------------------------------------------------------------------------------------------------------- position
_PLACE = """
    SELECT r.id AS run_id, r.org_id, r.gpu_class, r.version_id, r.comfyui_workflow_id, (
        SELECT count(*) FROM runs o WHERE o.lane_id = r.lane_id AND o.status_code = 'queued'
            AND (o.priority > r.priority OR (o.priority = r.priority AND o.queue_position < r.queue_position))
        ) AS ahead, (SELECT w.max_running FROM workflows w WHERE w.id = r.comfyui_workflow_id) AS most
    FROM runs r WHERE r.id = %(run)s AND r.org_id = %(org)s AND r.status_code = 'queued'
"""

# Of other organizations only whether they wait matters, so nothing of theirs is counted. In other lanes of its own
# those come first that are older, a step of priority counting as a minute, as in `lineup.py`.
_LOADS = """
    SELECT l.org_id, l.gpu_class, l.depth AS queued, l.running, l.expected_seconds,
           CASE WHEN l.org_id <> r.org_id OR l.depth = 0 THEN 0 WHEN l.id = r.lane_id THEN %(ahead)s ELSE (
               SELECT count(*) FROM runs o WHERE o.lane_id = l.id AND o.status_code = 'queued'
                   AND (o.created_at - make_interval(mins => o.priority), o.queue_position)
                     < (r.created_at - make_interval(mins => r.priority), r.queue_position)
           ) END AS ahead
    FROM runs r, lanes l WHERE r.id = %(run)s AND (l.depth > 0 OR l.running > 0)
"""


async def place(transaction: Transaction, org_id: UUID, run_id: UUID) -> RunPlace | None:
    """Return what is before a queued run in its lane; None when it is not queued, or another organization's."""
    return await transaction.first(_PLACE, {"org": org_id, "run": run_id}, row=RunPlace)


async def loads(transaction: Transaction, run: RunPlace) -> list[LaneLoad]:
    """Return the lanes that have runs, with how many of the run's own organization come before it."""
    return await transaction.rows(_LOADS, {"run": run.run_id, "ahead": run.ahead}, row=LaneLoad)
