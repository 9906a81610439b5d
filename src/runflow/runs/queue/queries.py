"""SQL of the queue.

Rows are locked in one order everywhere: run, attempt, lane, fair share. A lane's counts move in the transaction that
moves its runs.
"""

from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

ATTEMPT_LIMIT = 3
"""Attempts of one run (decisions.md, "Runs")."""

# ------------------------------------------------------------------------------------------------------------- intake
_INSERT_RUNS = text("""
    INSERT INTO runs (id, org_id, comfyui_workflow_id, version_id, target_version, source_code, input, metadata,
                      client_ref, callback_url, request_id, created_by, lane_id, gpu_class, priority, timeout_seconds)
    SELECT id, current_org(), comfyui_workflow_id, version_id, target_version, source_code, input, metadata,
           client_ref, callback_url, request_id, created_by, lane_id, gpu_class, priority, timeout_seconds
    FROM json_to_recordset(CAST(:rows AS json)) AS r(
        id uuid, comfyui_workflow_id uuid, version_id uuid, target_version text, source_code text, input json,
        metadata json, client_ref text, callback_url text, request_id text, created_by uuid, lane_id uuid,
        gpu_class text, priority integer, timeout_seconds integer)
    RETURNING id, created_at
""")

_ENTER_LANE = text("SELECT enter_lane(:lane, :version, :gpu_class, :fingerprint, :count, :priority)")


async def insert_runs(connection: AsyncConnection, rows: list[dict[str, Any]]) -> dict[UUID, Any]:
    """Insert queued runs of the transaction's tenant; return their creation times by id."""
    result = await connection.execute(_INSERT_RUNS, {"rows": orjson.dumps(rows).decode()})
    return {row.id: row.created_at for row in result}


async def enter_lane(
    connection: AsyncConnection,
    *,
    lane: UUID,
    version: UUID,
    gpu_class: str,
    fingerprint: str,
    count: int,
    priority: int,
) -> None:
    """Count `count` more runs into a lane, making it when it is new. The last statement before the commit."""
    await connection.execute(
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
_WAITING_LANES = text("""
    SELECT l.id, l.org_id, l.gpu_class, l.fingerprint, l.priority, coalesce(s.virtual_time, 0) AS virtual_time,
           extract(epoch FROM clock_timestamp() - coalesce(l.oldest_at, clock_timestamp()))::float8 AS waited_seconds
    FROM lanes l LEFT JOIN fair_shares s ON s.org_id = l.org_id
    WHERE l.depth > 0
""")

_CLAIM = text("""
    WITH picked AS (
        SELECT id FROM runs WHERE lane_id = :lane AND status_code = 'queued'
        ORDER BY priority DESC, queue_position LIMIT 1 FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE runs r SET status_code = 'dispatching' FROM picked WHERE r.id = picked.id
        RETURNING r.id, r.org_id, r.version_id, r.input, r.timeout_seconds, r.attempt_count
    ), offered AS (
        INSERT INTO run_attempts (id, org_id, run_id, worker_id, worker_instance, gpu_code, status_code, expires_at)
        SELECT :lease, org_id, id, :worker, :instance, :gpu_code, 'offered',
               clock_timestamp() + make_interval(secs => :offer_seconds)
        FROM claimed RETURNING expires_at
    ), next AS (
        SELECT r.priority, r.created_at FROM runs r, picked
        WHERE r.lane_id = :lane AND r.status_code = 'queued' AND r.id <> picked.id
        ORDER BY r.priority DESC, r.queue_position LIMIT 1
    ), moved AS (
        UPDATE lanes l SET depth = l.depth - 1, running = l.running + 1,
            oldest_at = (SELECT created_at FROM next), priority = coalesce((SELECT priority FROM next), 0)
        FROM claimed WHERE l.id = :lane
        RETURNING l.org_id, l.expected_seconds
    ), charged AS (
        INSERT INTO fair_shares AS s (org_id, virtual_time) SELECT org_id, expected_seconds FROM moved
        ON CONFLICT (org_id) DO UPDATE SET virtual_time = s.virtual_time + excluded.virtual_time
    )
    SELECT claimed.*, offered.expires_at FROM claimed, offered
""")


async def waiting_lanes(connection: AsyncConnection) -> list[Row[Any]]:
    """Return every lane with waiting runs."""
    return list(await connection.execute(_WAITING_LANES))


async def claim(
    connection: AsyncConnection,
    *,
    lane: UUID,
    lease: UUID,
    worker: UUID,
    instance: UUID,
    gpu_code: str,
    offer_seconds: float,
) -> Row[Any] | None:
    """Take the first run of a lane under a new, offered lease. None when another claim was faster."""
    values = {
        "lane": lane,
        "lease": lease,
        "worker": worker,
        "instance": instance,
        "gpu_code": gpu_code,
        "offer_seconds": offer_seconds,
    }
    return (await connection.execute(_CLAIM, values)).one_or_none()


# ---------------------------------------------------------------------------------------------------------- the lease
_HELD = text("""
    SELECT r.id AS run_id, r.org_id, r.comfyui_workflow_id, r.version_id, r.lane_id, r.status_code AS run_status,
           r.attempt_count, r.cancel_requested_at, r.created_at, r.started_at, r.metadata, r.client_ref,
           r.callback_url, r.request_id, r.created_by, r.nodes_total,
           a.id AS lease_id, a.status_code AS lease_status, a.number, a.gpu_code, a.expires_at, a.offered_at,
           a.result_hash, a.started_at AS attempt_started_at
    FROM runs r JOIN run_attempts a ON a.run_id = r.id
    WHERE a.id = :lease AND a.worker_id = :worker AND a.worker_instance = :instance
    FOR UPDATE OF r, a
""")

_RENEW = text("""
    WITH renewed AS (
        UPDATE run_attempts SET status_code = 'live', number = :number,
            started_at = coalesce(started_at, clock_timestamp()),
            expires_at = clock_timestamp() + make_interval(secs => :lease_seconds)
        WHERE id = :lease RETURNING run_id, expires_at
    )
    UPDATE runs r SET
        attempt_count = greatest(r.attempt_count, :number),
        status_code = CASE WHEN :running AND r.status_code = 'dispatching' THEN 'running' ELSE r.status_code END,
        started_at = CASE WHEN :running THEN coalesce(r.started_at, clock_timestamp()) ELSE r.started_at END,
        nodes_completed = coalesce(:nodes_completed, r.nodes_completed),
        nodes_total = coalesce(:nodes_total, r.nodes_total),
        has_logs = r.has_logs OR :has_logs
    FROM renewed WHERE r.id = renewed.run_id
    RETURNING renewed.expires_at
""")

_EVENTS = text("""
    INSERT INTO run_events (org_id, run_id, attempt_id, sequence, type_code, data, created_at)
    SELECT :org, :run, :lease, :base + number, type, data, at
    FROM json_to_recordset(CAST(:events AS json)) AS e(number integer, type text, data json, at timestamptz)
    ON CONFLICT DO NOTHING
""")

EVENTS_PER_ATTEMPT = 1_000_000
"""Sequence numbers of a run's events: attempt number times this, plus the worker's own number."""


async def held(connection: AsyncConnection, *, lease: UUID, worker: UUID, instance: UUID) -> Row[Any] | None:
    """Lock and return a lease with its run, whatever state it is in. None when this worker never had it."""
    values = {"lease": lease, "worker": worker, "instance": instance}
    return (await connection.execute(_HELD, values)).one_or_none()


async def renew(
    connection: AsyncConnection,
    *,
    lease: UUID,
    number: int,
    lease_seconds: float,
    running: bool,
    nodes_completed: int | None,
    nodes_total: int | None,
    has_logs: bool,
) -> Any:
    """Make a locked lease live for `lease_seconds` more; return when it expires."""
    values = {
        "lease": lease,
        "number": number,
        "lease_seconds": lease_seconds,
        "running": running,
        "nodes_completed": nodes_completed,
        "nodes_total": nodes_total,
        "has_logs": has_logs,
    }
    return (await connection.execute(_RENEW, values)).scalar_one()


async def add_events(
    connection: AsyncConnection, *, org: UUID, run: UUID, lease: UUID, number: int, events: list[dict[str, Any]]
) -> None:
    """Keep a worker's events, each number once."""
    values = {
        "org": org,
        "run": run,
        "lease": lease,
        "base": number * EVENTS_PER_ATTEMPT,
        "events": orjson.dumps(events).decode(),
    }
    await connection.execute(_EVENTS, values)


# --------------------------------------------------------------------------------------------------------- completion
_FINISH = text("""
    WITH attempt AS (
        UPDATE run_attempts SET status_code = :attempt_status, number = :number, completed_at = clock_timestamp(),
            started_at = coalesce(started_at, offered_at), prepare_ms = :prepare_ms, load_ms = :load_ms,
            execute_ms = :execute_ms, upload_ms = :upload_ms, failure_code = :failure_code,
            failure_message = :failure_message, result_hash = :result_hash
        WHERE id = :lease
    ), usage AS (
        INSERT INTO usage_records (id, org_id, run_id, attempt_id, comfyui_workflow_id, api_key_id, gpu_code,
                                   prepare_seconds, load_seconds, execute_seconds, price_per_second, is_billable, cost)
        SELECT gen_random_uuid(), r.org_id, r.id, :lease, r.comfyui_workflow_id, r.created_by, :gpu_code,
               :prepare_ms / 1000.0, :load_ms / 1000.0, :execute_ms / 1000.0, price, :billable,
               CASE WHEN :billable THEN round(price * (:load_ms + :execute_ms) / 1000.0, 6) ELSE 0 END
        FROM runs r, (SELECT coalesce((SELECT price_per_second FROM gpus WHERE code = :gpu_code), 0) AS price) AS p
        WHERE r.id = :run
        RETURNING cost, price_per_second
    ), run AS (
        UPDATE runs r SET status_code = :run_status, attempt_count = greatest(r.attempt_count, :number),
            started_at = CASE WHEN :run_status = 'queued' THEN NULL
                         ELSE coalesce(r.started_at, CAST(:started_at AS timestamptz)) END,
            completed_at = CASE WHEN :run_status = 'queued' THEN NULL
                           ELSE coalesce(r.completed_at, clock_timestamp()) END,
            duration_ms = CASE WHEN :run_status = 'queued' THEN NULL WHEN r.completed_at IS NOT NULL THEN r.duration_ms
                          ELSE (extract(epoch FROM clock_timestamp() - r.created_at) * 1000)::integer END,
            cost = coalesce(r.cost, 0) + usage.cost,
            cost_breakdown = json_build_object('gpu_code', CAST(:gpu_code AS text),
                'price_per_second', usage.price_per_second::text, 'load_seconds', :load_ms / 1000.0,
                'execute_seconds', :execute_ms / 1000.0),
            failure_code = CASE WHEN :run_status = 'failed' THEN :failure_code END,
            failure_stage_code = CASE WHEN :run_status = 'failed' THEN :failure_stage END,
            failure_message = CASE WHEN :run_status = 'failed' THEN :failure_message END,
            failure_details = CASE WHEN :run_status = 'failed' THEN CAST(:failure_details AS json) END,
            nodes_completed = coalesce(:nodes_completed, r.nodes_completed),
            nodes_total = coalesce(:nodes_total, r.nodes_total),
            has_node_runs = r.has_node_runs OR :has_node_runs, has_logs = r.has_logs OR :has_logs
        FROM usage WHERE r.id = :run
        RETURNING r.completed_at, r.duration_ms
    ), outputs AS (
        INSERT INTO run_outputs (id, org_id, run_id, attempt_id, ordinal, output_id, node_id, object_key, filename,
                                 content_type, size_bytes, sha256, width, height)
        SELECT gen_random_uuid(), :org, :run, :lease, ordinal, output_id, node_id, object_key, filename,
               content_type, size_bytes, sha256, width, height
        FROM json_to_recordset(CAST(:outputs AS json)) AS o(
            ordinal integer, output_id text, node_id text, object_key text, filename text, content_type text,
            size_bytes bigint, sha256 text, width integer, height integer)
    ), nodes AS (
        INSERT INTO run_node_runs (id, org_id, run_id, attempt_id, node_id, node_type, title, state_code, started_at,
                                   completed_at, duration_ms, error_message)
        SELECT gen_random_uuid(), :org, :run, :lease, node_id, node_type, title, state_code, started_at, completed_at,
               duration_ms, error_message
        FROM json_to_recordset(CAST(:nodes AS json)) AS n(
            node_id text, node_type text, title text, state_code text, started_at timestamptz,
            completed_at timestamptz, duration_ms integer, error_message text)
    ), lane AS (
        UPDATE lanes SET running = running - 1,
            depth = depth + CASE WHEN :run_status = 'queued' THEN 1 ELSE 0 END,
            oldest_at = CASE WHEN :run_status = 'queued' THEN least(oldest_at, CAST(:created_at AS timestamptz))
                        ELSE oldest_at END,
            expected_seconds = CASE WHEN :run_status = 'succeeded'
                THEN greatest(0.001, expected_seconds * 0.8 + 0.2 * (:load_ms + :execute_ms) / 1000.0)
                ELSE expected_seconds END
        WHERE id = :lane
    )
    SELECT completed_at, duration_ms FROM run
""")


async def finish(connection: AsyncConnection, values: dict[str, Any]) -> Row[Any]:
    """End a locked attempt and move its run on: outputs, node runs, usage, lane, all in one statement.

    `values["run_status"]` is the run's next status; `queued` gives it back to its lane.
    """
    return (await connection.execute(_FINISH, values)).one()


_RETURN_OFFER: TextClause = text("""
    WITH gone AS (DELETE FROM run_attempts WHERE id = :lease),
    back AS (UPDATE runs SET status_code = 'queued' WHERE id = :run AND status_code = 'dispatching')
    UPDATE lanes SET running = running - 1, depth = depth + 1,
        oldest_at = least(oldest_at, CAST(:created_at AS timestamptz))
    WHERE id = :lane
""")


async def return_offer(connection: AsyncConnection, *, lease: UUID, run: UUID, lane: UUID, created_at: Any) -> None:
    """Forget a locked offer that nobody took up: the run waits again and no attempt is counted."""
    await connection.execute(_RETURN_OFFER, {"lease": lease, "run": run, "lane": lane, "created_at": created_at})


_CLOSE_CANCELLED = text("""
    WITH gone AS (
        UPDATE run_attempts SET status_code = 'cancelled', completed_at = clock_timestamp(), number = :number
        WHERE id = :lease
    )
    UPDATE lanes SET running = running - 1 WHERE id = :lane
""")


async def close_cancelled(connection: AsyncConnection, *, lease: UUID, lane: UUID, number: int) -> None:
    """End the locked attempt of a run that was cancelled and whose worker is gone."""
    await connection.execute(_CLOSE_CANCELLED, {"lease": lease, "lane": lane, "number": number})


# -------------------------------------------------------------------------------------------------------- cancellation
_FOR_CANCELLATION = text("""
    SELECT r.id AS run_id, r.org_id, r.comfyui_workflow_id, r.lane_id, r.status_code, r.created_at, r.metadata,
           r.client_ref, r.callback_url, r.request_id
    FROM runs r WHERE r.id = :run FOR UPDATE
""")

_CANCEL = text("""
    WITH run AS (
        UPDATE runs SET status_code = 'cancelled', cancel_requested_at = clock_timestamp(),
            completed_at = clock_timestamp(),
            duration_ms = (extract(epoch FROM clock_timestamp() - created_at) * 1000)::integer
        WHERE id = :run RETURNING completed_at, duration_ms
    ), lane AS (
        UPDATE lanes SET depth = depth - CASE WHEN :queued THEN 1 ELSE 0 END WHERE id = :lane
    )
    SELECT completed_at, duration_ms FROM run
""")


async def for_cancellation(connection: AsyncConnection, run: UUID) -> Row[Any] | None:
    """Lock a run that someone wants to cancel."""
    return (await connection.execute(_FOR_CANCELLATION, {"run": run})).one_or_none()


async def cancel(connection: AsyncConnection, *, run: UUID, lane: UUID, queued: bool) -> Row[Any]:
    """Make a locked run `cancelled`; return when it ended. An attempt in progress ends when its worker hears of it."""
    return (await connection.execute(_CANCEL, {"run": run, "lane": lane, "queued": queued})).one()


# ------------------------------------------------------------------------------------------------------------- sweeps
_EXPIRED = text("""
    SELECT a.id AS lease, a.worker_id AS worker, a.worker_instance AS instance FROM run_attempts a
    WHERE a.status_code = ANY(:states) AND a.expires_at < clock_timestamp() ORDER BY a.expires_at LIMIT 100
""")

_OF_OLDER_LIVES = text("""
    SELECT a.id AS lease, a.worker_id AS worker, a.worker_instance AS instance FROM run_attempts a
    WHERE a.worker_id = :worker AND a.worker_instance <> :instance AND a.status_code IN ('offered', 'live')
""")

_UNSWEPT = text("""
    SELECT id, run_id FROM run_attempts
    WHERE status_code IN ('failed', 'cancelled', 'lost') AND NOT objects_swept
      AND completed_at < clock_timestamp() - make_interval(secs => :after_seconds)
    ORDER BY completed_at LIMIT 100
""")

_MARK_SWEPT = text("UPDATE run_attempts SET objects_swept = true WHERE id = ANY(:ids)")


async def expired(connection: AsyncConnection, states: list[str]) -> list[Row[Any]]:
    """Return leases in these states that were not renewed in time."""
    return list(await connection.execute(_EXPIRED, {"states": states}))


async def is_expired(connection: AsyncConnection, lease: UUID) -> bool:
    """Tell whether a locked lease has run out: it may have been renewed while we waited for the lock."""
    statement = text("SELECT expires_at < clock_timestamp() FROM run_attempts WHERE id = :lease")
    return bool((await connection.execute(statement, {"lease": lease})).scalar_one())


async def worker_name(connection: AsyncConnection, worker: UUID) -> str:
    """Return the name of a worker, for messages."""
    statement = text("SELECT name FROM workers WHERE id = :worker")
    return str((await connection.execute(statement, {"worker": worker})).scalar_one())


async def workflow_path(connection: AsyncConnection, workflow: UUID) -> str:
    """Return `owner/slug` of a workflow, for callbacks."""
    statement = text(
        "SELECT o.slug || '/' || w.slug FROM workflows w JOIN organizations o ON o.id = w.org_id WHERE w.id = :workflow"
    )
    return str((await connection.execute(statement, {"workflow": workflow})).scalar_one())


async def of_older_lives(connection: AsyncConnection, *, worker: UUID, instance: UUID) -> list[Row[Any]]:
    """Return the open leases of a worker's earlier processes."""
    return list(await connection.execute(_OF_OLDER_LIVES, {"worker": worker, "instance": instance}))


async def unswept(connection: AsyncConnection, after_seconds: float) -> list[Row[Any]]:
    """Return attempts that ended without being the run's result and whose uploaded objects may still lie around."""
    return list(await connection.execute(_UNSWEPT, {"after_seconds": after_seconds}))


async def mark_swept(connection: AsyncConnection, attempts: list[UUID]) -> None:
    """Note that nothing of these attempts is left in storage."""
    await connection.execute(_MARK_SWEPT, {"ids": attempts})
