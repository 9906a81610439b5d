"""What a server process remembers of a worker, and what makes it look again: in a fleet with several processes."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import UUID

import httpx
import orjson
import pytest

from runflow.ids import new_id
from runflow.queue import known_workers
from runflow.queue.backlog import Backlog
from runflow.queue.eligibility import Candidate
from runflow.queue.known_workers import KnownWorker, KnownWorkers
from runflow.server import create_app
from runflow.web.services import Services
from tests.support.able import CLASSES, MakeAble, told
from tests.support.deployed import Deployed, Dispatch, Worker
from tests.support.waiting import until

Polling = Callable[[Worker], Awaitable[None]]
SANDBOX = {"rung": "uid", "separates_files": False, "isolation": "organization"}


@pytest.fixture
async def elsewhere(services: Services, worker: Worker) -> AsyncIterator[httpx.AsyncClient]:
    """What another process of the server is to workers of this token: it hears the same hints."""
    transport = httpx.ASGITransport(create_app(services), raise_app_exceptions=False)
    headers = {"Authorization": worker.http.headers["Authorization"]}
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=headers) as client:
        yield client


@pytest.fixture
def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks by himself: who is not woken waits until his poll ends."""
    monkeypatch.setattr("runflow.queue.leases.LOOK_AGAIN_SECONDS", 3600.0)


@pytest.fixture
async def polling(monkeypatch: pytest.MonkeyPatch) -> Polling:
    """Wait until a poll of a worker waits, or is about to."""
    inside: list[UUID | None] = []
    waiting = Backlog.waiting

    @contextmanager
    def spied(backlog: Backlog, worker: UUID | None = None) -> Iterator[asyncio.Event]:
        with waiting(backlog, worker) as event:
            inside.append(worker)
            try:
                yield event
            finally:
                inside.remove(worker)

    monkeypatch.setattr(Backlog, "waiting", spied)

    async def until_it_waits(worker: Worker) -> None:
        await until(lambda: UUID(worker.worker_id) in inside)

    return until_it_waits


@pytest.mark.parametrize("change", ["sandbox", "labels", "gpu_code"])
async def test_what_was_told_to_another_process_is_seen_though_its_hint_was_lost(
    operator: httpx.AsyncClient,
    client: httpx.AsyncClient,
    services: Services,
    able: MakeAble,
    workflow: Deployed,
    dispatch: Dispatch,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    assert operator is not client, "there is an organization before this one"
    monkeypatch.setattr("runflow.queue.worker_api.SEEN_EVERY_SECONDS", -1.0)
    box = await able(registers={"sandbox": {**SANDBOX, "separates_files": True}, "labels": {"rack": "1"}})
    await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"worker_labels": {"rack": "1"}})
    assert await box.lease() is None
    changed = {"sandbox": orjson.dumps(SANDBOX).decode(), "labels": '{"rack": "2"}', "gpu_code": "OTHER"}[change]
    kind = "text" if change == "gpu_code" else "json"
    async with services.db.system() as transaction:
        statement = f"UPDATE workers SET {change} = CAST(%(value)s AS {kind}) WHERE id = %(id)s"
        await transaction.run(statement, {"value": changed, "id": UUID(box.worker_id)})
    run = await dispatch()
    assert await box.lease() is None, "it may not serve this organization, or this workflow, any more"
    good = await able(registers={"labels": {"rack": "1"}})
    lease = await good.lease(20)
    assert lease is not None and lease["run_id"] == run["id"]
    await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"worker_labels": {}})


async def test_a_better_sandbox_ends_what_was_kept_from_a_worker(able: MakeAble, dispatch: Dispatch) -> None:
    box = await able(registers={"sandbox": {**SANDBOX, "isolation": "worker"}})
    run = await dispatch()
    lease = await box.lease(20)
    assert lease is not None
    lacking = {"code": "MODEL_MISSING", "stage": "prepare", "message": "It is not there.", "lacking": True}
    assert (await box.complete(lease, "failed", error=lacking)).json()["status_code"] == "queued"
    assert await box.lease() is None
    for level in (None, 3):
        better = {**SANDBOX, "isolation": "worker", "fork_level": level}
        await box.register(**told(), sandbox=better)
    lease = await box.lease(20)
    assert lease is not None and lease["run_id"] == run["id"]


@pytest.mark.usefixtures("no_second_look")
async def test_a_worker_that_waits_is_woken_by_what_it_registers_meanwhile(
    able: MakeAble, dispatch: Dispatch, polling: Polling
) -> None:
    box = await able(CLASSES - {"Anything"})
    run = await dispatch()
    waiting = asyncio.create_task(box.lease(30))
    await polling(box)
    await box.register(**told())
    async with asyncio.timeout(25):
        lease = await waiting
    assert lease is not None and lease["run_id"] == run["id"]


@pytest.mark.usefixtures("no_second_look")
async def test_a_poll_ends_where_its_worker_has_registered_with_another_process(
    elsewhere: httpx.AsyncClient,
    able: MakeAble,
    worker: Worker,
    dispatch: Dispatch,
    polling: Polling,
) -> None:
    box = await able(CLASSES - {"Anything"}, gpu=worker.gpu)
    run = await dispatch()
    there = replace(box, http=elsewhere)
    assert await there.lease() is None
    waiting = asyncio.create_task(there.lease(30))
    await polling(there)
    await box.register(**told())
    async with asyncio.timeout(25):
        lease = await waiting
        if lease is None:  # it has to ask again, and is known as it is now
            lease = await there.lease(20)
    assert lease is not None and lease["run_id"] == run["id"]


@pytest.mark.usefixtures("no_second_look")
async def test_a_poll_ends_where_another_life_of_its_worker_registers_with_another_process(
    elsewhere: httpx.AsyncClient, able: MakeAble, dispatch: Dispatch, polling: Polling
) -> None:
    """The two tell the same abilities, so that nothing but the life is another one."""
    box = await able()
    there = replace(box, http=elsewhere)
    assert await there.lease() is None
    waiting = asyncio.create_task(there.lease(30))
    await polling(there)
    reborn = replace(box, instance=new_id())
    await reborn.register(**told())
    run = await dispatch()
    async with asyncio.timeout(25):
        assert await waiting is None
    lease = await reborn.lease(20)
    assert lease is not None and lease["run_id"] == run["id"]


async def test_an_earlier_life_of_a_worker_gets_nothing_though_the_hint_was_lost(
    services: Services, able: MakeAble, dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runflow.queue.worker_api.SEEN_EVERY_SECONDS", 3600.0)
    box = await able()
    assert await box.lease() is None
    later = new_id()
    async with services.db.system() as transaction:
        statement = "UPDATE workers SET instance = %(instance)s WHERE id = %(id)s"
        await transaction.run(statement, {"instance": later, "id": UUID(box.worker_id)})
    run = await dispatch()
    assert await box.lease() is None
    lease = await replace(box, instance=later).lease(20)
    assert lease is not None and lease["run_id"] == run["id"]


@pytest.mark.usefixtures("no_second_look")
async def test_a_poll_ends_where_its_worker_sends_the_wanted_lists_to_another_process(
    elsewhere: httpx.AsyncClient, worker: Worker, dispatch: Dispatch, polling: Polling
) -> None:
    whole = told(CLASSES | {new_id().hex})
    assert "node_types" in (await worker.register(abilities=whole["abilities"]))["wants"]
    run = await dispatch()
    there = replace(worker, http=elsewhere)
    assert await there.lease() is None
    waiting = asyncio.create_task(there.lease(30))
    await polling(there)
    assert (await worker.register(**whole))["wants"] == []
    async with asyncio.timeout(25):
        lease = await waiting or await there.lease(20)
    assert lease is not None and lease["run_id"] == run["id"]


@pytest.mark.usefixtures("no_second_look")
async def test_a_poll_ends_where_its_worker_says_that_it_is_not_ready(
    able: MakeAble, dispatch: Dispatch, polling: Polling
) -> None:
    box = await able()
    waiting = asyncio.create_task(box.lease(30))
    await polling(box)
    await box.register("engine_down", **told())
    run = await dispatch()
    async with asyncio.timeout(25):
        assert await waiting is None
    await box.register(**told())
    lease = await box.lease(20)
    assert lease is not None and lease["run_id"] == run["id"]


@pytest.mark.usefixtures("no_second_look")
async def test_polls_end_where_nobody_knows_what_was_missed(
    services: Services, able: MakeAble, polling: Polling
) -> None:
    box = await able()
    waiting = asyncio.create_task(box.lease(30))
    await polling(box)
    services.hub.wake_all()
    async with asyncio.timeout(25):
        assert await waiting is None


@pytest.mark.usefixtures("no_second_look")
async def test_labels_and_drains_wake_who_waits(
    polling: Polling,
    client: httpx.AsyncClient,
    operator: httpx.AsyncClient,
    able: MakeAble,
    workflow: Deployed,
    dispatch: Dispatch,
) -> None:
    await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"worker_labels": {"rack": "1"}})
    box = await able()
    run = await dispatch()
    waiting = asyncio.create_task(box.lease(30))
    await polling(box)
    await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"worker_labels": {}})
    async with asyncio.timeout(25):
        lease = await waiting
        assert lease is not None and lease["run_id"] == run["id"]
    await operator.patch(f"/v1/workers/{box.worker_id}", json={"draining": True})
    second = await dispatch()
    assert await box.lease() is None
    waiting = asyncio.create_task(box.lease(30))
    await polling(box)
    await operator.patch(f"/v1/workers/{box.worker_id}", json={"draining": False})
    async with asyncio.timeout(25):
        lease = await waiting
    assert lease is not None and lease["run_id"] == second["id"]


def test_who_is_gone_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [10_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    known = KnownWorkers()

    def seen(worker_id: UUID) -> None:
        known.put(worker_id, KnownWorker(new_id(), new_id(), "CPU", True, Candidate("CPU"), "", clock[0]))

    old, new = new_id(), new_id()
    for _ in range(50):
        seen(new_id())
    seen(old)
    clock[0] += known_workers.SILENT_SECONDS + 1
    seen(new)
    assert len(known) == 1 and known.get(old) is None and known.get(new) is not None
    known.changed(new, "")
    assert known.get(new) is not None
    known.changed(new, "another")
    assert known.get(new) is None
