"""Statistics of a workflow's runs (docs/api/metering.md): always the caller's own runs, also of a public workflow."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row

from runflow.statistics import queries
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
    async with services.db.tenant(caller.org_id) as connection:
        series = await queries.series(connection, workflow_id, period)
        sums = totals(series)
        latency = await queries.latency(connection, workflow_id, period, sums["succeeded"] + sums["failed"])
        failures = await queries.failures(connection, workflow_id, period)
    return {
        "from": period.start,
        "to": period.end,
        "bucket": period.bucket,
        "totals": sums,
        "latency_ms": {name: percentiles(latency, name) for name in ("queue", "execution", "total")},
        "failures": [{"failure_code": row.failure_code, "count": row.count} for row in failures],
        "series": [step(row) for row in series],
    }


def totals(series: list[Row[Any]]) -> dict[str, Any]:
    """Add up the steps. The success rate leaves out what was cancelled or has not ended."""
    names = ("runs", "succeeded", "failed", "cancelled", "gpu_seconds", "cost", "cold_starts")
    summed = {name: sum(row._mapping[name] for row in series) for name in names}
    judged = summed["succeeded"] + summed["failed"]
    summed["gpu_seconds"] = float(summed["gpu_seconds"])
    return summed | {"success_rate": round(summed["succeeded"] / judged, 4) if judged else None}


def percentiles(latency: Row[Any], name: str) -> dict[str, Any]:
    """Return one latency with its percentiles, average and maximum."""
    columns = latency._mapping
    found = columns[name] or [None] * len(queries.PERCENTILES)
    shown = dict(zip(queries.PERCENTILES, found, strict=True)) | {
        "avg": columns[f"{name}_average"],
        "max": columns[f"{name}_max"],
    }
    return {key: None if value is None else _shown(float(value)) for key, value in shown.items()}


def step(row: Row[Any]) -> dict[str, Any]:
    """Return one step of the series."""
    shown = ("start", "runs", "succeeded", "failed", "p50_total_ms", "p95_total_ms")
    return {name: _shown(row._mapping[name]) for name in shown} | {"gpu_seconds": float(row.gpu_seconds)}


def _shown(value: Any) -> Any:
    """Return a latency as it is measured, in milliseconds: interpolation leaves a tail of digits that mean nothing."""
    return round(value, 1) if isinstance(value, float) else value
