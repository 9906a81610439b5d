"""What attempts are billed for (docs/api/metering.md, "What is metered")."""

from decimal import Decimal

import httpx

from runflow.ids import new_id
from runflow.web.services import Services
from runflow.workers.gpus import queries as gpus
from tests.support.deployed import Deployed, Dispatch, Worker
from tests.support.priced_runs import Execute

NOTHING = "0.000000"


async def record(client: httpx.AsyncClient, run: dict[str, str]) -> dict[str, object]:
    return dict((await client.get(f"/v1/runs/{run['id']}")).json())


async def test_a_succeeded_run_pays_for_load_and_execute(execute: Execute, priced: Deployed) -> None:
    run = await execute(prepare_ms=500, load_ms=1000, execute_ms=2000, upload_ms=300)
    assert run["cost"] == "0.003000"
    assert run["cost_breakdown"] == {
        "gpu_code": priced.gpu,
        "price_per_second": "0.001000",
        "prepare_seconds": "0.500",
        "load_seconds": "1.000",
        "execute_seconds": "2.000",
        "billable_seconds": "3.000",
        "attempts": 1,
    }


async def test_the_price_is_the_one_of_its_time(execute: Execute, services: Services, priced: Deployed) -> None:
    before = await execute(execute_ms=1000)
    async with services.db.system() as transaction:
        await gpus.put(transaction, priced.gpu, {"price_per_second": Decimal(1)})
    after = await execute(execute_ms=1000)
    assert (before["cost"], after["cost"]) == ("0.001000", "1.000000")


async def test_a_failed_run_costs_nothing_but_shows_what_it_used(
    priced: Deployed, worker: Worker, dispatch: Dispatch, client: httpx.AsyncClient
) -> None:
    run = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    error = {"code": "EXECUTION_FAILED", "stage": "execute", "message": "It broke. Mend it."}
    await worker.complete(lease, "failed", error=error, timings={"execute_ms": 4000})
    found = await record(client, run)
    assert found["cost"] == NOTHING
    breakdown = found["cost_breakdown"]
    assert isinstance(breakdown, dict)
    assert (breakdown["execute_seconds"], breakdown["billable_seconds"]) == ("4.000", "0.000")


async def test_a_cancelled_run_pays_until_it_stopped(
    priced: Deployed, worker: Worker, dispatch: Dispatch, client: httpx.AsyncClient
) -> None:
    run = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    await worker.heartbeat(lease)
    assert (await client.post(f"/v1/runs/{run['id']}/cancellation")).status_code == 201
    await worker.complete(lease, "cancelled", timings={"execute_ms": 1500})
    found = await record(client, run)
    assert (found["status_code"], found["cost"]) == ("cancelled", "0.001500")


async def test_a_run_that_never_began_costs_nothing(
    priced: Deployed, dispatch: Dispatch, client: httpx.AsyncClient
) -> None:
    run = await dispatch()
    await client.post(f"/v1/runs/{run['id']}/cancellation")
    assert (await record(client, run))["cost"] == NOTHING


async def test_running_out_of_memory_is_paid_when_the_retry_succeeds(
    priced: Deployed, worker: Worker, dispatch: Dispatch, client: httpx.AsyncClient
) -> None:
    run = await dispatch()
    error = {"code": "OUT_OF_MEMORY", "stage": "execute", "message": "Too big.", "retryable": True}
    first = await worker.lease()
    assert first is not None
    await worker.complete(first, "failed", error=error, timings={"prepare_ms": 100, "execute_ms": 2000})
    assert (await record(client, run))["cost"] == NOTHING
    second = await worker.lease()
    assert second is not None
    await worker.complete(second, outputs=[await worker.upload(second)], timings={"execute_ms": 3000})
    found = await record(client, run)
    assert found["cost"] == "0.005000"
    breakdown = found["cost_breakdown"]
    assert isinstance(breakdown, dict)
    assert breakdown["attempts"] == 2
    assert (breakdown["prepare_seconds"], breakdown["billable_seconds"]) == ("0.100", "5.000")


async def test_another_failure_before_a_success_stays_free(
    priced: Deployed, worker: Worker, dispatch: Dispatch, client: httpx.AsyncClient
) -> None:
    run = await dispatch()
    error = {"code": "ENGINE_CRASHED", "stage": "execute", "message": "Gone.", "retryable": True}
    first = await worker.lease()
    assert first is not None
    await worker.complete(first, "failed", error=error, timings={"execute_ms": 2000})
    second = await worker.lease()
    assert second is not None
    await worker.complete(second, outputs=[await worker.upload(second)], timings={"execute_ms": 3000})
    assert (await record(client, run))["cost"] == "0.003000"


async def test_running_out_of_memory_is_free_when_the_run_fails_in_the_end(
    priced: Deployed, worker: Worker, dispatch: Dispatch, client: httpx.AsyncClient
) -> None:
    run = await dispatch()
    for again in (True, False):
        error = {"code": "OUT_OF_MEMORY", "stage": "execute", "message": "Too big.", "retryable": again}
        lease = await worker.lease()
        assert lease is not None
        await worker.complete(lease, "failed", error=error, timings={"execute_ms": 2000})
    assert (await record(client, run))["cost"] == NOTHING


async def test_a_cancelled_run_whose_worker_is_gone_ends_at_no_cost(
    priced: Deployed, worker: Worker, dispatch: Dispatch, client: httpx.AsyncClient
) -> None:
    run = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    await worker.heartbeat(lease)
    await client.post(f"/v1/runs/{run['id']}/cancellation")
    worker.instance = new_id()
    await worker.register()
    found = await record(client, run)
    assert (found["status_code"], found["cost"]) == ("cancelled", NOTHING)
    usage = (await client.get("/v1/usage")).json()["totals"]
    assert (usage["attempts"], usage["cost"]) == (1, NOTHING)


async def test_a_cold_start_is_remembered(execute: Execute, client: httpx.AsyncClient, priced: Deployed) -> None:
    cold = await execute(execute_ms=1, cold_start=True)
    await execute(execute_ms=1)
    found = (await client.get(f"/v1/runs/{cold['id']}?embed=attempts")).json()
    assert [attempt["cold_start"] for attempt in found["attempts"]] == [True]
    assert [attempt["peak_memory_bytes"] for attempt in found["attempts"]] == [None]
    stats = await client.get(f"/v1/comfyui-workflows/{priced.id}/run-performance-stats")
    assert stats.json()["totals"]["cold_starts"] == 1


async def test_the_peak_of_its_memory_is_kept_with_the_attempt(execute: Execute, client: httpx.AsyncClient) -> None:
    run = await execute(execute_ms=1, peak_memory_bytes=40 * 2**30)
    query = {"q": f"peak_memory_bytes > {30 * 2**30}"}
    found = (await client.get(f"/v1/runs/{run['id']}/attempts", params=query)).json()
    assert [attempt["peak_memory_bytes"] for attempt in found["items"]] == [40 * 2**30]
