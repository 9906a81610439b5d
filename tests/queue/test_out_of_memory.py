"""Memory runs out on a small GPU: the run goes to a larger one, and so do those after it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest

from runflow.ids import new_id
from runflow.queue import gpu_order
from runflow.web.services import Services
from runflow.workers.gpus import queries as gpus
from runflow.workflows.runtime.known import Known
from tests.support.able import CLASSES, told
from tests.support.deployed import PROMPT, Deployed, MakeWorker, Worker

GIB = 2**30
MakeGpu = Callable[..., Awaitable[Worker]]
Run = Callable[[], Awaitable[str]]


@pytest.fixture
async def rack() -> str:
    """The label by which workers of a test serve its workflows, and others' do not."""
    return new_id().hex


@pytest.fixture
async def make_gpu(services: Services, make_worker: MakeWorker, rack: str) -> AsyncIterator[MakeGpu]:
    """Make a worker of a GPU class with a price and so many GiB, which is gone after the test."""
    made: list[Worker] = []
    # Whatever is left of other tests' workers is not remembered.
    services.part(Known).read_at = float("-inf")

    async def make(code: str, memory_gb: int = 0, price: str = "0", classes: frozenset[str] = CLASSES) -> Worker:
        code = code if code == "CPU" else f"{code}-{rack[-6:]}"
        if code != "CPU":
            async with services.db.system() as transaction:
                await gpus.put(transaction, code, {"price_per_second": Decimal(price)})
        worker = await make_worker("CPU")
        worker.gpu, worker.memory_gb = code, memory_gb
        made.append(worker)
        await worker.register(**told(classes), labels={"rack": rack})
        services.part(Known).read_at = services.part(Known)._machines_at = float("-inf")
        return worker

    yield make
    async with services.db.system() as transaction:
        values = {"names": [worker.name for worker in made]}
        await transaction.run(
            "UPDATE workers SET last_seen_at = now() - interval '1 hour' WHERE name = ANY(%(names)s)", values
        )
        await transaction.run(
            "UPDATE run_attempts SET status_code = 'lost' WHERE status_code IN ('offered', 'live') "
            "AND worker_id IN (SELECT id FROM workers WHERE name = ANY(%(names)s))",
            values,
        )


async def deployed(client: httpx.AsyncClient, rack: str, **more: Any) -> Deployed:
    body = {"name": "P", "slug": f"p-{new_id().hex[-8:]}", "workflow_json": PROMPT, "worker_labels": {"rack": rack}}
    answer = await client.post("/v1/comfyui-workflows", json={**body, **more})
    assert answer.status_code == 201, answer.text
    return Deployed(answer.json()["id"], answer.json()["path"], "auto")


@pytest.fixture
async def flow(client: httpx.AsyncClient, rack: str) -> Deployed:
    return await deployed(client, rack)


def dispatcher(client: httpx.AsyncClient, workflow: Deployed) -> Run:
    async def send() -> str:
        answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json={"input": {"prompt": "x"}})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    return send


@pytest.fixture
async def run(client: httpx.AsyncClient, flow: Deployed) -> Run:
    return dispatcher(client, flow)


async def taken(worker: Worker, wait: float = 0) -> dict[str, Any] | None:
    return await worker.lease(wait)


async def got(worker: Worker, run_id: str) -> dict[str, Any]:
    lease = await worker.lease(20)
    assert lease is not None and lease["run_id"] == run_id
    return lease


async def ran_out(worker: Worker, lease: dict[str, Any], **more: Any) -> str:
    error = {"code": "OUT_OF_MEMORY", "stage": "execute", "message": "Too big.", "retryable": True, "node_id": "4"}
    timings = {"execute_ms": 2000}
    answer = await worker.complete(lease, "failed", error={**error, **more}, timings=timings)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["status_code"])


async def done(worker: Worker, lease: dict[str, Any], **timings: Any) -> None:
    answer = await worker.complete(lease, outputs=[await worker.upload(lease)], timings=timings)
    assert answer.status_code == 200, answer.text


async def reason_of(client: httpx.AsyncClient, run_id: str) -> str:
    return str((await client.get(f"/v1/runs/{run_id}")).json()["waiting_reason"])


async def test_the_cheapest_class_takes_it_at_once_and_the_next_after_a_while(
    make_gpu: MakeGpu, run: Run, monkeypatch: pytest.MonkeyPatch, client: httpx.AsyncClient
) -> None:
    cheap, dear, same = await make_gpu("L4", 24, "1"), await make_gpu("A100", 80, "2"), await make_gpu("A10", 24, "1")
    first = await run()
    assert await taken(dear) is None
    assert f"{same.gpu} or {cheap.gpu}" in await reason_of(client, first)
    lease = await got(cheap, first)
    second = await run()
    assert await taken(dear) is None
    await done(same, await got(same, second))
    await done(cheap, lease)
    third = await run()
    monkeypatch.setattr(gpu_order, "STEP_SECONDS", 0.0)
    await done(dear, await got(dear, third))


async def test_nobody_waits_for_a_class_that_cannot_run_it_or_takes_nothing(
    make_gpu: MakeGpu, run: Run, services: Services
) -> None:
    await make_gpu("L4", 24, "1", classes=CLASSES - {"Anything"})
    drained = await make_gpu("A10", 24, "1.5")
    async with services.db.system() as transaction:
        await transaction.run("UPDATE workers SET draining = true WHERE name = %(name)s", {"name": drained.name})
    dear = await make_gpu("A100", 80, "2")
    await done(dear, await got(dear, await run()))


async def test_a_worker_without_a_gpu_takes_what_no_gpu_can(make_gpu: MakeGpu, run: Run) -> None:
    cpu = await make_gpu("CPU")
    await done(cpu, await got(cpu, await run()))
    lacking = await make_gpu("L4", 24, classes=CLASSES - {"Anything"})
    await done(cpu, await got(cpu, await run()))
    gpu = await make_gpu("A10", 24)
    waiting = await run()
    assert await taken(cpu) is None and await taken(lacking) is None
    await done(gpu, await got(gpu, waiting))


async def test_models_that_are_told_decide_before_anything_is_measured(
    client: httpx.AsyncClient, make_gpu: MakeGpu, rack: str
) -> None:
    models = {f"diffusion_models/{part}.safetensors": {"size_bytes": 12 * GIB + part} for part in (1, 2)}
    small = await make_gpu("L4", 24, "1", classes=CLASSES)
    has = told(CLASSES)
    has["abilities"].pop("models")
    has["lists"].pop("models")
    await small.register(**has, labels={"rack": rack})
    workflow = await deployed(client, rack, models=models)
    runtime = (await client.get(f"/v1/comfyui-workflows/{workflow.id}/runtime")).json()
    assert not runtime["can_run"]
    mine = next(one for one in runtime["workers"] if one["name"] == small.name)
    assert [one["code"] for one in mine["differences"]] == ["GPU_MEMORY"]
    assert "has 24 GiB of GPU memory, where about 29 GiB are needed" in mine["differences"][0]["message"]
    waiting = await dispatcher(client, workflow)()
    assert await taken(small) is None
    large = await make_gpu("A100", 40, "5")
    await large.register(**has, labels={"rack": rack})
    await done(large, await got(large, waiting))


async def test_memory_that_runs_out_takes_the_run_and_later_ones_to_the_next_larger_class(
    client: httpx.AsyncClient, make_gpu: MakeGpu, run: Run
) -> None:
    small = await make_gpu("L4", 24, "1")
    larger, largest = await make_gpu("A6000", 48, "2"), await make_gpu("H100", 80, "3")
    first = await run()
    assert await ran_out(small, await got(small, first)) == "queued"
    assert await taken(small) is None and await taken(largest) is None
    await done(larger, await got(larger, first), execute_ms=1000, peak_memory_bytes=30 * GIB, cold_start=True)
    read = (await client.get(f"/v1/runs/{first}?embed=attempts")).json()
    assert [(one["gpu_code"], one["status_code"]) for one in read["attempts"]] == [
        (small.gpu, "failed"),
        (larger.gpu, "succeeded"),
    ]
    assert (read["cost"], read["cost_breakdown"]["attempts"]) == ("4.000000", 2), "2 s at 1 and 1 s at 2"
    second = await run()
    assert await taken(small) is None and await taken(largest) is None, "the cheapest of those that are large enough"
    await done(larger, await got(larger, second))


async def test_peaks_are_learned(make_gpu: MakeGpu, run: Run, client: httpx.AsyncClient) -> None:
    dear = await make_gpu("H100", 80, "3")
    # What stayed of earlier runs is in the first peak; an engine of its own tells more exactly.
    await done(dear, await got(dear, await run()), peak_memory_bytes=60 * GIB)
    cheap = await make_gpu("L4", 24, "1")
    middle = await make_gpu("A6000", 48, "2")
    waiting = await run()
    assert await taken(cheap) is None and await taken(middle) is None
    await done(dear, await got(dear, waiting), peak_memory_bytes=20 * GIB, cold_start=True)
    await done(cheap, await got(cheap, await run()), peak_memory_bytes=22 * GIB)
    waiting = await run()
    assert await taken(middle) is None
    await done(cheap, await got(cheap, waiting), peak_memory_bytes=24 * GIB + 1, cold_start=True)
    waiting = await run()
    assert await taken(cheap) is None, "its largest run would not fit any more"
    await done(middle, await got(middle, waiting))


async def test_it_is_retried_once_whatever_was_tried_before(make_gpu: MakeGpu, run: Run) -> None:
    small, large = await make_gpu("L4", 24, "1"), await make_gpu("H100", 80, "3")
    mine = await run()
    lost = await small.fail(await got(small, mine), "ENGINE_CRASHED", retryable=True)
    assert lost.json()["status_code"] == "queued"
    assert await ran_out(small, await got(small, mine)) == "queued"
    assert await ran_out(large, await got(large, mine)) == "failed"
    waiting = await run()
    assert await taken(small) is None, "that has been learned"
    await done(large, await got(large, waiting))


async def test_without_a_larger_class_it_is_tried_again_where_it_was(make_gpu: MakeGpu, run: Run) -> None:
    small = await make_gpu("L4", 24, "1")
    await make_gpu("H100", 80, "1", classes=CLASSES - {"Anything"})
    await make_gpu("CPU")
    mine = await run()
    assert await ran_out(small, await got(small, mine)) == "queued"
    assert await ran_out(small, await got(small, mine)) == "failed"
    await done(small, await got(small, await run()))


async def test_an_engine_that_was_ended_for_the_machines_memory_teaches_nothing(make_gpu: MakeGpu, run: Run) -> None:
    small, _ = await make_gpu("L4", 24, "1"), await make_gpu("H100", 80, "3")
    mine = await run()
    assert await ran_out(small, await got(small, mine), node_id=None) == "queued"
    await done(small, await got(small, mine))


async def test_a_list_of_classes_passes_over_those_that_are_too_small(
    client: httpx.AsyncClient, make_gpu: MakeGpu, rack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large, other = await make_gpu("L4", 24), await make_gpu("A6000", 48), await make_gpu("H100", 80)
    classes = [small.gpu, large.gpu]
    workflow = await deployed(client, rack, gpu_mode="explicit", gpu_explicit_models=classes)
    first = await dispatcher(client, workflow)()
    assert await ran_out(small, await got(small, first)) == "queued"
    monkeypatch.setattr(gpu_order, "STEP_SECONDS", 0.0)
    assert await taken(small) is None and await taken(other) is None
    await done(large, await got(large, first))


async def test_no_claim_takes_what_its_gpu_is_too_small_for_whatever_a_process_remembers(
    services: Services, make_gpu: MakeGpu, run: Run, flow: Deployed
) -> None:
    small = await make_gpu("L4", 24)
    await done(small, await got(small, await run()))
    async with services.db.system() as transaction:  # another process has learned it
        await transaction.run("UPDATE lanes SET out_of_memory_gb = 24 WHERE workflow_id = %(id)s", {"id": flow.id})
    mine = await run()
    assert await taken(small) is None
    large = await make_gpu("H100", 80)
    await done(large, await got(large, mine))
