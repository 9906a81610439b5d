"""SQL of run statistics. Each statement reads only the indexes `runs_ended`, `runs_unfinished` and `runs_failed`.

Durations are the whole milliseconds of the run's own record: `queue_ms`, `duration_ms`, and their difference.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from runflow.db.transaction import Transaction
from runflow.web.period import Period

# Sorting a million durations in memory takes half the time that it takes on disk; compiling the statement takes longer
# than running it does for most workflows; and the same runs give the same sample every time.
_TUNE = "SELECT set_config('work_mem', '64MB', true), set_config('jit', 'off', true), setseed(0)"

# One range of the index per step: no sort by step, and no holes.
_SERIES = """
    SELECT b.start, e.succeeded + e.failed + e.cancelled + u.unfinished AS runs, e.succeeded, e.failed, e.cancelled,
           e.total[1] AS p50_total_ms, e.total[2] AS p95_total_ms, e.gpu_seconds + u.gpu_seconds AS gpu_seconds,
           e.cost + u.cost AS cost, e.cold_starts + u.cold_starts AS cold_starts,
           e.cold_machine + u.cold_machine AS cold_machine, e.cold_runtime + u.cold_runtime AS cold_runtime,
           e.cold_model + u.cold_model AS cold_model
    FROM unnest(CAST(%(buckets)s AS timestamptz[])) AS b(start)
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE status_code = 'succeeded') AS succeeded,
               count(*) FILTER (WHERE status_code = 'failed') AS failed,
               count(*) FILTER (WHERE status_code = 'cancelled') AS cancelled,
               percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_ms)
                   FILTER (WHERE status_code IN ('succeeded', 'failed')) AS total,
               coalesce(sum(gpu_seconds), 0) AS gpu_seconds, coalesce(sum(cost), 0) AS cost,
               count(*) FILTER (WHERE cold_start) AS cold_starts, count(*) FILTER (WHERE cold_machine) AS cold_machine,
               count(*) FILTER (WHERE cold_runtime) AS cold_runtime, count(*) FILTER (WHERE cold_model) AS cold_model
        FROM runs WHERE comfyui_workflow_id = %(workflow)s AND completed_at IS NOT NULL
            AND created_at >= greatest(b.start, %(start)s) AND created_at < least(b.start + %(width)s, %(end)s)
    ) AS e
    CROSS JOIN LATERAL (
        SELECT count(*) AS unfinished, coalesce(sum(gpu_seconds), 0) AS gpu_seconds, coalesce(sum(cost), 0) AS cost,
               count(*) FILTER (WHERE cold_start) AS cold_starts, count(*) FILTER (WHERE cold_machine) AS cold_machine,
               count(*) FILTER (WHERE cold_runtime) AS cold_runtime, count(*) FILTER (WHERE cold_model) AS cold_model
        FROM runs WHERE comfyui_workflow_id = %(workflow)s AND completed_at IS NULL
            AND created_at >= greatest(b.start, %(start)s) AND created_at < least(b.start + %(width)s, %(end)s)
    ) AS u
    ORDER BY b.start
"""

_LATENCY = """
    SELECT percentile_cont(CAST(%(percentiles)s AS float8[])) WITHIN GROUP (ORDER BY queue_ms)
               FILTER (WHERE random() < %(share)s) AS queue,
           avg(queue_ms)::float8 AS queue_average, max(queue_ms) AS queue_max,
           percentile_cont(CAST(%(percentiles)s AS float8[])) WITHIN GROUP (ORDER BY duration_ms - queue_ms)
               FILTER (WHERE random() < %(share)s) AS execution,
           avg(duration_ms - queue_ms)::float8 AS execution_average, max(duration_ms - queue_ms) AS execution_max,
           percentile_cont(CAST(%(percentiles)s AS float8[])) WITHIN GROUP (ORDER BY duration_ms)
               FILTER (WHERE random() < %(share)s) AS total,
           avg(duration_ms)::float8 AS total_average, max(duration_ms) AS total_max
    FROM runs WHERE comfyui_workflow_id = %(workflow)s AND completed_at IS NOT NULL
        AND created_at >= %(start)s AND created_at < %(end)s AND status_code IN ('succeeded', 'failed')
"""

_WAITS = """
    WITH parts AS (
        SELECT waited_ms - machine_ms - runtime_ms - model_ms - engine_ms AS queue_ms, machine_ms, runtime_ms, model_ms,
               engine_ms, random() < %(share)s AS is_drawn
        FROM runs WHERE comfyui_workflow_id = %(workflow)s AND completed_at IS NOT NULL AND waited_ms IS NOT NULL
            AND created_at >= %(start)s AND created_at < %(end)s AND status_code IN ('succeeded', 'failed')
    )
    SELECT percentile_cont(CAST(%(percentiles)s AS float8[])) WITHIN GROUP (ORDER BY queue_ms)
               FILTER (WHERE is_drawn) AS queue,
           avg(queue_ms)::float8 AS queue_average, max(queue_ms) AS queue_max,
           percentile_cont(CAST(%(percentiles)s AS float8[])) WITHIN GROUP (ORDER BY machine_ms)
               FILTER (WHERE is_drawn) AS machine,
           avg(machine_ms)::float8 AS machine_average, max(machine_ms) AS machine_max,
           percentile_cont(CAST(%(percentiles)s AS float8[])) WITHIN GROUP (ORDER BY runtime_ms)
               FILTER (WHERE is_drawn) AS runtime,
           avg(runtime_ms)::float8 AS runtime_average, max(runtime_ms) AS runtime_max,
           percentile_cont(CAST(%(percentiles)s AS float8[])) WITHIN GROUP (ORDER BY model_ms)
               FILTER (WHERE is_drawn) AS model,
           avg(model_ms)::float8 AS model_average, max(model_ms) AS model_max,
           percentile_cont(CAST(%(percentiles)s AS float8[])) WITHIN GROUP (ORDER BY engine_ms)
               FILTER (WHERE is_drawn) AS engine,
           avg(engine_ms)::float8 AS engine_average, max(engine_ms) AS engine_max
    FROM parts
"""

_FAILURES = """
    SELECT failure_code, count(*) AS count FROM runs
    WHERE comfyui_workflow_id = %(workflow)s AND status_code = 'failed'
        AND created_at >= %(start)s AND created_at < %(end)s
    GROUP BY failure_code ORDER BY count DESC, failure_code
"""

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
SAMPLE = 100_000
"""Of more runs than this, percentiles are those of about so many drawn at random, which have the right rank within a
tenth of a percent (three standard errors of p99: 3 √(0.99 · 0.01 / SAMPLE)). Sorting all of a million takes as long as
everything else."""


@dataclass(frozen=True, slots=True)
class Step:
    """What happened to the runs that were created in one step of a period."""

    start: datetime
    runs: int
    succeeded: int
    failed: int
    cancelled: int
    p50_total_ms: float | None
    p95_total_ms: float | None
    gpu_seconds: Decimal
    cost: Decimal
    cold_starts: int
    cold_machine: int
    cold_runtime: int
    cold_model: int


async def series(transaction: Transaction, workflow_id: UUID, period: Period) -> list[Step]:
    """Return one row per step of the period: counts, sums and percentiles of the runs created in it."""
    await transaction.run(_TUNE)
    values = {**_range(workflow_id, period), "buckets": period.buckets(), "width": period.bucket.width}
    return await transaction.rows(_SERIES, values, row=Step)


@dataclass(frozen=True, slots=True)
class Latencies:
    """How long runs waited, were executed, and took in all, in milliseconds; None where there is none to judge."""

    queue: list[float] | None
    """One for each of `PERCENTILES`, as in `execution` and `total`."""
    queue_average: float | None
    queue_max: int | None
    execution: list[float] | None
    execution_average: float | None
    execution_max: int | None
    total: list[float] | None
    total_average: float | None
    total_max: int | None


async def latency(transaction: Transaction, workflow_id: UUID, period: Period, judged: int) -> Latencies:
    """Return the latencies of runs that succeeded or failed, of which there are `judged`.

    When a cancelled run ended was its caller's doing.
    """
    return await transaction.one(_LATENCY, _drawn(workflow_id, period, judged), row=Latencies)


@dataclass(frozen=True, slots=True)
class Waits:
    """For how long runs waited, and for what, in milliseconds; None where there is none to judge."""

    queue: list[float] | None
    """One for each of `PERCENTILES`, as in the others."""
    queue_average: float | None
    queue_max: int | None
    machine: list[float] | None
    machine_average: float | None
    machine_max: int | None
    runtime: list[float] | None
    runtime_average: float | None
    runtime_max: int | None
    model: list[float] | None
    model_average: float | None
    model_max: int | None
    engine: list[float] | None
    engine_average: float | None
    engine_max: int | None


async def waits(transaction: Transaction, workflow_id: UUID, period: Period, judged: int) -> Waits:
    """Return what the runs waited for that succeeded or failed, of which there are `judged`."""
    return await transaction.one(_WAITS, _drawn(workflow_id, period, judged), row=Waits)


@dataclass(frozen=True, slots=True)
class Failures:
    """How many runs failed for one reason."""

    failure_code: str | None
    count: int


async def failures(transaction: Transaction, workflow_id: UUID, period: Period) -> list[Failures]:
    """Return how many runs failed by `failure_code`, most frequent first."""
    return await transaction.rows(_FAILURES, _range(workflow_id, period), row=Failures)


def _drawn(workflow_id: UUID, period: Period, judged: int) -> dict[str, Any]:
    share = min(1.0, SAMPLE / max(judged, 1))
    return {**_range(workflow_id, period), "percentiles": list(PERCENTILES.values()), "share": share}


def _range(workflow_id: UUID, period: Period) -> dict[str, Any]:
    return {"workflow": workflow_id, "start": period.start, "end": period.end}
