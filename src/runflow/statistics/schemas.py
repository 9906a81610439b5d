"""Shapes of statistics on the wire."""

from pydantic import BaseModel, ConfigDict, Field

from runflow.billing.schemas import Money
from runflow.web.period import Bucket
from runflow.web.responses import Timestamp


class ColdStarts(BaseModel):
    """How many runs were cold starts, by cause; a run can have several. Runs with an attempt that …"""

    machine: int = Field(description="… waited until its worker was there.")
    runtime: int = Field(description="… waited until the runtime of its version was built or fetched.")
    model: int = Field(description="… had its models loaded, or waited a second or more until they were there.")
    engine: int = Field(description="… was the first prompt of an engine: the same as `cold_starts`.")


class RunTotals(BaseModel):
    """Sums over the runs that were created in the period."""

    runs: int = Field(description="All of them, those included that have not ended yet.")
    succeeded: int
    failed: int
    cancelled: int
    success_rate: float | None = Field(description="Succeeded of those that succeeded or failed, 0 to 1.")
    gpu_seconds: float = Field(description="Prepare, load and execute seconds of all attempts.")
    cost: Money
    cold_starts: int = Field(description="Runs with an attempt whose worker had to start its engine first.")
    cold_starts_by_cause: ColdStarts


class Latency(BaseModel):
    """How long it took, in milliseconds; null where no run is counted."""

    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    avg: float | None
    max: float | None


class RunLatencies(BaseModel):
    """Latencies of the runs that succeeded or failed. For each run, queue and execution add up to total."""

    queue: Latency = Field(description="From dispatch until the engine began.")
    execution: Latency = Field(description="From then to the end, outputs stored.")
    total: Latency = Field(description="The run's `duration_ms`.")


class RunWaits(BaseModel):
    """What the runs that succeeded or failed waited for. For each run, these add up to its wait."""

    queue: Latency = Field(description="For its turn, and for whatever is none of the others.")
    machine: Latency = Field(description="Until its worker was there.")
    runtime: Latency = Field(description="Until the runtime of its version was built or fetched.")
    model: Latency = Field(description="Until its models were fetched and placed.")
    engine: Latency = Field(description="Until an engine had started.")


class FailureCount(BaseModel):
    """How many runs failed for one reason."""

    failure_code: str | None
    count: int


class RunStep(BaseModel):
    """One step of the series."""

    start: Timestamp
    runs: int
    succeeded: int
    failed: int
    p50_total_ms: float | None
    p95_total_ms: float | None
    gpu_seconds: float


class RunPerformanceStats(BaseModel):
    """How the runs of one workflow did in a period of time."""

    model_config = ConfigDict(populate_by_name=True)

    from_: Timestamp = Field(alias="from")
    to: Timestamp
    bucket: Bucket
    totals: RunTotals
    latency_ms: RunLatencies
    wait_ms: RunWaits
    failures: list[FailureCount] = Field(description="Most frequent first.")
    series: list[RunStep] = Field(description="Every step of the period, empty ones included, oldest first.")
