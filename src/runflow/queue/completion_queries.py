"""SQL of what ends an attempt or a run: small statements that leave together (`runflow.db.transaction`).

They are sent in the order in which rows are locked everywhere (`queries.py`), to rows that are locked already.
"""

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from runflow.db.transaction import Fetched, Transaction
from runflow.queue.rows import EndedRun, HeldRun, LockedRun
from runflow.queue.waits import Wait

# ---------------------------------------------------------------------------------------------------- an attempt's end
COLD_MODEL_MS = 1000
"""A run that waited so long for its models to be fetched and placed was a cold start, whatever its engine held. What is
less is taken up by looking whether they are there."""

# One statement, because the run's cost is made of what the usage row computes.
_END_ATTEMPT = """
    WITH attempt AS (
        UPDATE run_attempts SET status_code = %(attempt_status)s, number = %(number)s, completed_at = clock_timestamp(),
            started_at = coalesce(started_at, offered_at), prepare_ms = %(prepare_ms)s, load_ms = %(load_ms)s,
            execute_ms = %(execute_ms)s, upload_ms = %(upload_ms)s, cold_start = %(cold_start)s,
            peak_memory_bytes = %(peak_memory_bytes)s, failure_code = %(failure_code)s,
            failure_message = %(failure_message)s, result_hash = %(result_hash)s, waited_ms = %(waited_ms)s,
            machine_ms = %(machine_ms)s, runtime_ms = %(runtime_ms)s, model_ms = %(model_ms)s, engine_ms = %(engine_ms)s
        WHERE id = %(lease)s
    ), usage AS (
        INSERT INTO usage_records (id, org_id, run_id, attempt_id, comfyui_workflow_id, api_key_id, gpu_code,
                                   prepare_seconds, load_seconds, execute_seconds, price_per_second, is_billable)
        SELECT gen_random_uuid(), r.org_id, r.id, %(lease)s, r.comfyui_workflow_id, r.created_by, %(gpu_code)s,
               %(prepare_ms)s / 1000.0, %(load_ms)s / 1000.0, %(execute_ms)s / 1000.0,
               coalesce((SELECT price_per_second FROM gpus WHERE code = %(gpu_code)s), 0), %(billable)s
        FROM runs r WHERE r.id = %(run)s
        RETURNING *
    )
    UPDATE runs r SET status_code = %(run_status)s, attempt_count = greatest(r.attempt_count, %(number)s),
        started_at = CASE WHEN %(run_status)s = 'queued' THEN NULL
                     WHEN r.completed_at IS NOT NULL THEN r.started_at
                     ELSE coalesce(r.started_at, %(started_at)s) END,
        completed_at = CASE WHEN %(run_status)s = 'queued' THEN NULL
                       ELSE coalesce(r.completed_at, clock_timestamp()) END,
        duration_ms = CASE WHEN %(run_status)s = 'queued' THEN NULL
                      WHEN r.completed_at IS NOT NULL THEN r.duration_ms
                      ELSE elapsed_ms(r.created_at, clock_timestamp()) END,
        cost = coalesce(r.cost, 0) + u.cost, gpu_seconds = coalesce(r.gpu_seconds, 0) + u.gpu_seconds,
        cold_start = r.cold_start OR %(cold_start)s, cold_machine = r.cold_machine OR %(machine_ms)s > 0,
        cold_runtime = r.cold_runtime OR %(runtime_ms)s > 0,
        cold_model = r.cold_model OR %(model_ms)s >= %(cold_model_ms)s
            OR (CAST(%(loaded)s AS boolean) IS TRUE AND (%(load_ms)s > 0
                OR EXISTS (SELECT FROM lanes WHERE id = %(lane)s AND models_key <> ''))),
        waited_ms = CASE WHEN %(run_status)s <> 'queued' THEN %(waited_ms)s END,
        machine_ms = CASE WHEN %(run_status)s <> 'queued' THEN %(machine_ms)s END,
        runtime_ms = CASE WHEN %(run_status)s <> 'queued' THEN %(runtime_ms)s END,
        model_ms = CASE WHEN %(run_status)s <> 'queued' THEN %(model_ms)s END,
        engine_ms = CASE WHEN %(run_status)s <> 'queued' THEN %(engine_ms)s END,
        cost_breakdown = cost_breakdown(u.gpu_code, u.price_per_second, u.prepare_seconds, u.load_seconds,
            u.execute_seconds, u.billable_seconds, 1),
        failure_code = CASE WHEN %(run_status)s = 'failed' THEN %(failure_code)s END,
        failure_stage_code = CASE WHEN %(run_status)s = 'failed' THEN %(failure_stage)s END,
        failure_message = CASE WHEN %(run_status)s = 'failed' THEN %(failure_message)s END,
        failure_details = CASE WHEN %(run_status)s = 'failed' THEN CAST(%(failure_details)s AS json) END,
        nodes_completed = coalesce(%(nodes_completed)s, r.nodes_completed),
        nodes_total = coalesce(%(nodes_total)s, r.nodes_total),
        has_node_runs = r.has_node_runs OR %(has_node_runs)s, has_logs = r.has_logs OR %(has_logs)s
    FROM usage u WHERE r.id = %(run)s
    RETURNING r.completed_at, r.duration_ms
"""

_ADD_RESULTS = """
    WITH outputs AS (
        INSERT INTO run_outputs (id, org_id, run_id, attempt_id, ordinal, output_id, node_id, object_key, filename,
                                 content_type, size_bytes, sha256, width, height)
        SELECT gen_random_uuid(), %(org)s, %(run)s, %(lease)s, ordinal, output_id, node_id, object_key, filename,
               content_type, size_bytes, sha256, width, height
        FROM json_to_recordset(CAST(%(outputs)s AS json)) AS o(
            ordinal integer, output_id text, node_id text, object_key text, filename text, content_type text,
            size_bytes bigint, sha256 text, width integer, height integer)
    )
    INSERT INTO run_node_runs (id, org_id, run_id, attempt_id, node_id, node_type, title, state_code, started_at,
                               completed_at, duration_ms, load_ms, error_message)
    SELECT id, %(org)s, %(run)s, %(lease)s, node_id, node_type, title, state_code,
           started_at, completed_at, duration_ms, load_ms, error_message
    FROM json_to_recordset(CAST(%(nodes)s AS json)) AS n(
        id uuid, node_id text, node_type text, title text, state_code text, started_at timestamptz,
        completed_at timestamptz, duration_ms integer, load_ms integer, error_message text)
"""

# The peak of an engine's first run is its own. Later ones hold what stayed of the runs before, which would make room
# where there is less; so of those the least counts, and only until there is one of the first kind.
# What a run takes and what loading takes are told apart by runs that had nothing to load. Until there was one, the load
# is believed to be what the size of the models says, and the rest is the run's.
_LEAVE_LANE = """
    UPDATE lanes l SET running = running - 1,
        depth = depth + CASE WHEN %(run_status)s = 'queued' THEN 1 ELSE 0 END,
        oldest_at = CASE WHEN %(run_status)s = 'queued' THEN least(oldest_at, CAST(%(created_at)s AS timestamptz))
                    ELSE oldest_at END,
        priority = CASE WHEN %(run_status)s <> 'queued' THEN l.priority WHEN l.depth = 0 THEN t.priority
                   ELSE greatest(l.priority, t.priority) END,
        expected_seconds = CASE
            WHEN %(run_status)s <> 'succeeded' OR (CAST(%(loaded)s AS boolean) IS TRUE AND is_pace_known)
                THEN expected_seconds
            WHEN CAST(%(loaded)s AS boolean) IS TRUE THEN greatest(0.001, t.seconds - coalesce(load_seconds, 0))
            WHEN is_pace_known THEN greatest(0.001, expected_seconds * 0.8 + 0.2 * t.seconds)
            ELSE greatest(0.001, t.seconds) END,
        load_seconds = CASE WHEN %(run_status)s = 'succeeded' AND CAST(%(loaded)s AS boolean) IS TRUE AND is_pace_known
            THEN least(600, coalesce(load_seconds, 0) * 0.7 + 0.3 * greatest(0, t.seconds - expected_seconds))
            ELSE load_seconds END,
        is_pace_known = is_pace_known OR (%(run_status)s = 'succeeded' AND CAST(%(loaded)s AS boolean) IS NOT TRUE),
        fresh_peak_bytes = CASE WHEN measured AND %(cold_start)s THEN greatest(fresh_peak_bytes, t.peak)
                           ELSE fresh_peak_bytes END,
        least_peak_bytes = CASE WHEN measured AND NOT %(cold_start)s THEN least(least_peak_bytes, t.peak)
                           ELSE least_peak_bytes END,
        out_of_memory_gb = greatest(out_of_memory_gb, %(out_of_memory_gb)s)
    FROM (SELECT (%(load_ms)s + %(execute_ms)s) / 1000.0 AS seconds, priority,
                 CAST(%(peak_memory_bytes)s AS bigint) AS peak,
                 %(run_status)s = 'succeeded' AND %(gpu_code)s <> 'CPU'
                     AND CAST(%(peak_memory_bytes)s AS bigint) IS NOT NULL AS measured
          FROM runs WHERE id = %(run)s) AS t
    WHERE l.id = %(lane)s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnd:
    """Everything that the end of a locked attempt writes.

    `run_status` is the run's next status; `queued` gives it back to its lane. `started_at` is when it began to execute,
    or else when its worker took it up. `outputs` and `nodes` are rows of `run_outputs` and `run_node_runs`;
    `failure_details` is JSON text.
    """

    held: HeldRun
    number: int
    attempt_status: str
    run_status: str
    billable: bool
    started_at: datetime
    wait: Wait
    failure_code: str | None = None
    failure_stage: str | None = None
    failure_message: str | None = None
    failure_details: str | None = None
    prepare_ms: int = 0
    load_ms: int = 0
    execute_ms: int = 0
    upload_ms: int = 0
    cold_start: bool = False
    loaded: bool | None = None
    peak_memory_bytes: int | None = None
    out_of_memory_gb: int = 0
    """GiB of the GPU on which memory ran out, where its lane is to be kept from all that have no more; 0: nothing is
    learned."""
    result_hash: str | None = None
    nodes_completed: int | None = None
    nodes_total: int | None = None
    has_logs: bool = False
    outputs: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[dict[str, Any]] = field(default_factory=list)


async def finish(transaction: Transaction, end: AttemptEnd) -> Fetched[EndedRun]:
    """End a locked attempt and move its run on: attempt, usage, run; outputs and node runs; lane.

    Waits for nothing: when the run ended can be fetched by whoever wants to wait for it.
    """
    held = end.held
    values = {name: getattr(end, name) for name in _PLAIN} | {
        "lease": held.lease_id,
        "run": held.run_id,
        "org": held.org_id,
        "lane": held.lane_id,
        "gpu_code": held.gpu_code,
        "created_at": held.created_at,
        "has_node_runs": bool(end.nodes),
        "waited_ms": end.wait.waited_ms,
        "machine_ms": end.wait.machine_ms,
        "runtime_ms": end.wait.runtime_ms,
        "model_ms": end.wait.model_ms,
        "engine_ms": end.wait.engine_ms,
        "cold_model_ms": COLD_MODEL_MS,
    }
    ended = await transaction.later(_END_ATTEMPT, values, row=EndedRun)
    if end.outputs or end.nodes:
        results = {"outputs": orjson.dumps(end.outputs).decode(), "nodes": orjson.dumps(end.nodes).decode()}
        await transaction.run(_ADD_RESULTS, values | results)
    await transaction.run(_LEAVE_LANE, values)
    return ended


_PLAIN = tuple(one.name for one in fields(AttemptEnd) if one.name not in ("held", "wait", "outputs", "nodes"))


# -------------------------------------------------------------------------------------------------------- cancellation
_FOR_CANCELLATION = """
    SELECT r.id AS run_id, r.org_id, r.comfyui_workflow_id, r.lane_id, r.batch_id, r.status_code AS run_status,
           r.created_at, r.metadata, r.client_ref, r.callback_url, r.request_id, false AS auto_evaluate,
           EXISTS (SELECT FROM webhooks w WHERE w.org_id = r.org_id AND w.disabled_at IS NULL) AS has_webhooks
    FROM runs r WHERE r.id = %(run)s FOR UPDATE
"""

_CANCEL = """
    WITH run AS (
        UPDATE runs SET status_code = 'cancelled', cancel_requested_at = clock_timestamp(),
            cancellation_reason = %(reason)s, completed_at = clock_timestamp(),
            duration_ms = elapsed_ms(created_at, clock_timestamp()),
            cost = CASE WHEN %(queued)s THEN coalesce(cost, 0) ELSE cost END
        WHERE id = %(run)s RETURNING completed_at, duration_ms
    ), lane AS (
        UPDATE lanes l SET depth = l.depth - 1, priority = first_priority(l.id)
        FROM run WHERE %(queued)s AND l.id = %(lane)s
    )
    SELECT completed_at, duration_ms FROM run
"""


async def version_of(transaction: Transaction, run: UUID) -> UUID:
    """Return the version that a run is pinned to."""
    return await transaction.one_value("SELECT version_id FROM runs WHERE id = %(run)s", {"run": run}, of=UUID)


async def for_cancellation(transaction: Transaction, run: UUID) -> LockedRun | None:
    """Lock a run that someone wants to cancel."""
    return await transaction.first(_FOR_CANCELLATION, {"run": run}, row=LockedRun)


async def cancel(transaction: Transaction, *, run: UUID, lane: UUID, queued: bool, reason: str | None) -> EndedRun:
    """Make a locked run `cancelled`. An attempt in progress ends when its worker hears of it."""
    values = {"run": run, "lane": lane, "queued": queued, "reason": reason}
    return await transaction.one(_CANCEL, values, row=EndedRun)
