"""SQL of run statistics. Each statement reads only the indexes `runs_ended`, `runs_unfinished` and `runs_failed`.

Durations are the whole milliseconds of the run's own record: `queue_ms`, `duration_ms`, and their difference.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from runflow.db.transaction import Transaction
from runflow.web.period import Period

# Sorting a million durations in memory takes half the time that it takes on disk; compiling the statement takes longer
# than running it does for most workflows; and the same runs give the same sample every time.
_TUNE = text("SELECT set_config('work_mem', '64MB', true), set_config('jit', 'off', true), setseed(0)")

# One range of the index per step: no sort by step, and no holes.
_SERIES = text("""
    SELECT b.start, e.succeeded + e.failed + e.cancelled + u.unfinished AS runs, e.succeeded, e.failed, e.cancelled,
           e.total[1] AS p50_total_ms, e.total[2] AS p95_total_ms, e.gpu_seconds + u.gpu_seconds AS gpu_seconds,
           e.cost + u.cost AS cost, e.cold_starts + u.cold_starts AS cold_starts
    FROM unnest(CAST(:buckets AS timestamptz[])) AS b(start)
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE status_code = 'succeeded') AS succeeded,
               count(*) FILTER (WHERE status_code = 'failed') AS failed,
               count(*) FILTER (WHERE status_code = 'cancelled') AS cancelled,
               percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_ms)
                   FILTER (WHERE status_code IN ('succeeded', 'failed')) AS total,
               coalesce(sum(gpu_seconds), 0) AS gpu_seconds, coalesce(sum(cost), 0) AS cost,
               count(*) FILTER (WHERE cold_start) AS cold_starts
        FROM runs WHERE comfyui_workflow_id = :workflow AND completed_at IS NOT NULL
            AND created_at >= greatest(b.start, :start) AND created_at < least(b.start + :width, :end)
    ) AS e
    CROSS JOIN LATERAL (
        SELECT count(*) AS unfinished, coalesce(sum(gpu_seconds), 0) AS gpu_seconds, coalesce(sum(cost), 0) AS cost,
               count(*) FILTER (WHERE cold_start) AS cold_starts
        FROM runs WHERE comfyui_workflow_id = :workflow AND completed_at IS NULL
            AND created_at >= greatest(b.start, :start) AND created_at < least(b.start + :width, :end)
    ) AS u
    ORDER BY b.start
""")

_LATENCY = text("""
    SELECT percentile_cont(CAST(:percentiles AS float8[])) WITHIN GROUP (ORDER BY queue_ms)
               FILTER (WHERE random() < :share) AS queue,
           avg(queue_ms)::float8 AS queue_average, max(queue_ms) AS queue_max,
           percentile_cont(CAST(:percentiles AS float8[])) WITHIN GROUP (ORDER BY duration_ms - queue_ms)
               FILTER (WHERE random() < :share) AS execution,
           avg(duration_ms - queue_ms)::float8 AS execution_average, max(duration_ms - queue_ms) AS execution_max,
           percentile_cont(CAST(:percentiles AS float8[])) WITHIN GROUP (ORDER BY duration_ms)
               FILTER (WHERE random() < :share) AS total,
           avg(duration_ms)::float8 AS total_average, max(duration_ms) AS total_max
    FROM runs WHERE comfyui_workflow_id = :workflow AND completed_at IS NOT NULL
        AND created_at >= :start AND created_at < :end AND status_code IN ('succeeded', 'failed')
""")

_FAILURES = text("""
    SELECT failure_code, count(*) AS count FROM runs
    WHERE comfyui_workflow_id = :workflow AND status_code = 'failed' AND created_at >= :start AND created_at < :end
    GROUP BY failure_code ORDER BY count DESC, failure_code
""")

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
SAMPLE = 100_000
"""Of more runs than this, percentiles are those of about so many drawn at random, which have the right rank within a
tenth of a percent (three standard errors of p99: 3 √(0.99 · 0.01 / SAMPLE)). Sorting all of a million takes as long as
everything else."""


async def series(connection: Transaction, workflow_id: UUID, period: Period) -> list[Row[Any]]:
    """Return one row per step of the period: counts, sums and percentiles of the runs created in it."""
    await connection.execute(_TUNE)
    values = {**_range(workflow_id, period), "buckets": period.buckets(), "width": period.bucket.width}
    return list(await connection.execute(_SERIES, values))


async def latency(connection: Transaction, workflow_id: UUID, period: Period, judged: int) -> Row[Any]:
    """Return, for `queue`, `execution` and `total`: an array of `PERCENTILES`, `…_average` and `…_max`; null if none.

    Of runs that succeeded or failed, of which there are `judged`: when a cancelled run ended was its caller's doing.
    """
    share = min(1.0, SAMPLE / max(judged, 1))
    values = {**_range(workflow_id, period), "percentiles": list(PERCENTILES.values()), "share": share}
    return (await connection.execute(_LATENCY, values)).one()


async def failures(connection: Transaction, workflow_id: UUID, period: Period) -> list[Row[Any]]:
    """Return how many runs failed by `failure_code`, most frequent first."""
    return list(await connection.execute(_FAILURES, _range(workflow_id, period)))


def _range(workflow_id: UUID, period: Period) -> dict[str, Any]:
    return {"workflow": workflow_id, "start": period.start, "end": period.end}
