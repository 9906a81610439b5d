"""Statistics of a workflow's runs (docs/api/metering.md): always the caller's own runs, also of a public workflow."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from runflow.statistics import queries
from runflow.statistics.queries import Step
from runflow.web.auth import Principal
from runflow.web.lists import RecordQuery
from runflow.web.period import Period
from runflow.web.services import Services
from runflow.workflows import service as workflows


async def run_performance(services: Services, caller: Principal, workflow_id: UUID, period: Period) -> dict[str, Any]:
    """Return the statistics of the caller's runs of one workflow. Raises `WorkflowNotFound`.

    A run belongs to the step in which it was created.
    """
    await workflows.get(services, caller, workflow_id, RecordQuery(fields=("id",)))
    async with services.db.listing(caller.org_id) as transaction:
        series = await queries.series(transaction, workflow_id, period)
        sums = totals(series)
        latency = await queries.latency(transaction, workflow_id, period, sums["succeeded"] + sums["failed"])
        waits = await queries.waits(transaction, workflow_id, period, sums["succeeded"] + sums["failed"])
        failures = await queries.failures(transaction, workflow_id, period)
    return {
        "from": period.start,
        "to": period.end,
        "bucket": period.bucket,
        "totals": sums,
        "latency_ms": {
            "queue": percentiles(latency.queue, latency.queue_average, latency.queue_max),
            "execution": percentiles(latency.execution, latency.execution_average, latency.execution_max),
            "total": percentiles(latency.total, latency.total_average, latency.total_max),
        },
        "wait_ms": {
            "queue": percentiles(waits.queue, waits.queue_average, waits.queue_max),
            "machine": percentiles(waits.machine, waits.machine_average, waits.machine_max),
            "runtime": percentiles(waits.runtime, waits.runtime_average, waits.runtime_max),
            "model": percentiles(waits.model, waits.model_average, waits.model_max),
            "engine": percentiles(waits.engine, waits.engine_average, waits.engine_max),
        },
        "failures": [{"failure_code": row.failure_code, "count": row.count} for row in failures],
        "series": [step(row) for row in series],
    }


def totals(series: list[Step]) -> dict[str, Any]:
    """Add up the steps. The success rate leaves out what was cancelled or has not ended."""
    succeeded, failed = sum(row.succeeded for row in series), sum(row.failed for row in series)
    judged = succeeded + failed
    return {
        "runs": sum(row.runs for row in series),
        "succeeded": succeeded,
        "failed": failed,
        "cancelled": sum(row.cancelled for row in series),
        "gpu_seconds": float(sum(row.gpu_seconds for row in series)),
        "cost": sum(row.cost for row in series),
        "cold_starts": sum(row.cold_starts for row in series),
        "cold_starts_by_cause": {
            "machine": sum(row.cold_machine for row in series),
            "runtime": sum(row.cold_runtime for row in series),
            "model": sum(row.cold_model for row in series),
            "engine": sum(row.cold_starts for row in series),
        },
        "success_rate": round(succeeded / judged, 4) if judged else None,
    }


def percentiles(found: Sequence[float] | None, average: float | None, longest: int | None) -> dict[str, Any]:
    """Return one latency with its percentiles, average and maximum."""
    shares = dict(zip(queries.PERCENTILES, found, strict=True)) if found else dict.fromkeys(queries.PERCENTILES)
    shown = {**shares, "avg": average, "max": longest}
    return {key: None if value is None else _shown(float(value)) for key, value in shown.items()}


def step(row: Step) -> dict[str, Any]:
    """Return one step of the series."""
    return {
        "start": row.start,
        "runs": row.runs,
        "succeeded": row.succeeded,
        "failed": row.failed,
        "p50_total_ms": None if row.p50_total_ms is None else _shown(row.p50_total_ms),
        "p95_total_ms": None if row.p95_total_ms is None else _shown(row.p95_total_ms),
        "gpu_seconds": float(row.gpu_seconds),
    }


def _shown(milliseconds: float) -> float:
    """Return a latency as it is measured, in milliseconds: interpolation leaves a tail of digits that mean nothing."""
    return round(milliseconds, 1)
