"""Caps: never exceeded whoever claims, reached, told of, and given to whoever waits."""

import asyncio
from uuid import UUID

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.queue.board import Board
from runflow.queue.caps import Caps
from runflow.queue.choose import WorkerOffer
from runflow.queue.eligibility import Candidate, Eligibility, EligibleLanes
from runflow.queue.leases import Asker, Claimed, claim_now
from runflow.web.services import Services
from runflow.workflows.runtime.known import Known
from tests.support.deployed import Deployed, Dispatch, MakeWorker, Worker

WORKFLOW, ORGANIZATION = UUID(int=1), UUID(int=2)


async def cap(client: httpx.AsyncClient, workflow: Deployed, most: int | None) -> None:
    """Set the workflow's cap."""
    answer = await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"max_running": most})
    assert answer.status_code == 200 and answer.json()["max_running"] == most, answer.text


async def running(services: Services, workflow: Deployed) -> int:
    """Return how many runs of the workflow are leased."""
    statement = """
        SELECT count(*) FROM run_attempts a JOIN runs r ON r.id = a.run_id
        WHERE a.status_code IN ('offered', 'live') AND r.comfyui_workflow_id = %(id)s
    """
    async with services.db.system() as transaction:
        return await transaction.one_value(statement, {"id": workflow.id}, of=int)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2))))
def test_lanes_under_a_cap_are_known_until_they_are_forgotten(noted: list[tuple[int, int, int]]) -> None:
    caps, known = Caps(), {}
    for number, of_workflow, of_organization in noted:
        rooms = {WORKFLOW: of_workflow, ORGANIZATION: of_organization}
        assert caps.note(UUID(int=number), rooms) == (min(rooms.values()) > 0)
        known[UUID(int=number)] = rooms
        assert caps.lanes == caps.under(WORKFLOW) == caps.beside(UUID(int=number)) == set(known)
        if min(rooms.values()) == 1:
            assert caps.taken(UUID(int=number)) == set(known)
    for lane in known:
        caps.forget(lane)
    assert not caps.lanes and not caps.under(WORKFLOW) and caps.note(UUID(int=9), {})


@pytest.mark.parametrize("most", [0, -1, 1.5, "2", True])
async def test_what_is_no_cap_is_refused(client: httpx.AsyncClient, workflow: Deployed, most: object) -> None:
    answer = await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"max_running": most})
    assert answer.status_code == 422


async def test_a_full_workflow_is_passed_over_and_says_so(
    client: httpx.AsyncClient, workflow: Deployed, dispatch: Dispatch, worker: Worker
) -> None:
    await cap(client, workflow, 1)
    first, second = await dispatch(), await dispatch()
    body = {"name": "Other", "workflow_json": (await client.get(f"/v1/comfyui-workflows/{workflow.id}")).json()}
    body["workflow_json"] = body["workflow_json"]["workflow_json"]
    other = (
        await client.post(
            "/v1/comfyui-workflows", json={**body, "gpu_mode": "explicit", "gpu_explicit_models": [workflow.gpu]}
        )
    ).json()
    beside = (await client.post(f"/v1/comfyui-workflows/{other['path']}/runs", json={"input": {"prompt": "x"}})).json()
    leases = [await worker.lease() for _ in range(3)]
    assert [lease and lease["run_id"] for lease in leases] == [first["id"], beside["id"], None]
    waiting = (await client.get(f"/v1/runs/{second['id']}")).json()
    assert waiting["waiting_reason"] == "Its workflow may have 1 run at a time, and has it."
    poll = asyncio.create_task(worker.lease(wait=30))
    await asyncio.sleep(0)
    assert leases[0] is not None
    assert (await worker.complete(leases[0])).status_code == 200
    async with asyncio.timeout(1.5):
        lease = await poll
    assert lease is not None and lease["run_id"] == second["id"], "woken by the hint, before anybody looks again"


async def test_every_version_counts_and_a_higher_cap_wakes(
    client: httpx.AsyncClient, workflow: Deployed, dispatch: Dispatch, worker: Worker
) -> None:
    await cap(client, workflow, 1)
    await dispatch()
    prompt = (await client.get(f"/v1/comfyui-workflows/{workflow.id}")).json()["workflow_json"]
    prompt["77"] = {"class_type": "Anything", "inputs": {}}
    assert (await client.patch(f"/v1/comfyui-workflows/{workflow.id}", json={"workflow_json": prompt})).json()[
        "version"
    ] == "2"
    newer = await dispatch()
    assert newer["target_version"] == "2"
    assert await worker.lease() is not None and await worker.lease() is None
    poll = asyncio.create_task(worker.lease(wait=30))
    await asyncio.sleep(0)
    await cap(client, workflow, None)
    async with asyncio.timeout(1.5):
        lease = await poll
    assert lease is not None and lease["run_id"] == newer["id"]


async def test_a_place_is_free_again_whatever_became_of_the_run(
    services: Services, client: httpx.AsyncClient, workflow: Deployed, dispatch: Dispatch, worker: Worker
) -> None:
    await cap(client, workflow, 1)
    for _ in range(3):
        await dispatch()
    lease = await worker.lease()
    assert lease is not None and await worker.lease() is None
    assert (await worker.complete(lease, "released")).status_code == 200
    lease = await worker.lease()
    assert lease is not None and await worker.lease() is None
    assert (await worker.fail(lease, "EXECUTION_FAILED")).status_code == 200
    lease = await worker.lease()
    assert lease is not None and await worker.lease() is None
    assert (await client.post(f"/v1/runs/{lease['run_id']}/cancellation")).status_code == 201
    assert await worker.lease() is None, "its worker has it still"
    assert (await worker.complete(lease, "cancelled")).status_code == 200
    assert await worker.lease() is not None


@pytest.mark.parametrize("of_organization", [False, True])
async def test_many_claimers_of_many_processes_never_exceed_a_cap_and_reach_it(
    services: Services,
    client: httpx.AsyncClient,
    workflow: Deployed,
    dispatch: Dispatch,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
    of_organization: bool,
) -> None:
    most, runs = 3, 30
    if of_organization:
        monkeypatch.setattr(services, "settings", services.settings.model_copy(update={"max_running": most}))
    else:
        await cap(client, workflow, most)
    for _ in range(runs):
        await dispatch()
    await services.part(Known).read_installation()
    boards = [Board(services.db, services.hub, services.settings.max_running) for _ in range(4)]
    workers = [await make_worker(workflow.gpu) for _ in range(8)]
    seen: list[int] = []
    done: set[UUID] = set()

    async def claim(number: int) -> Claimed | None:
        worker = workers[number]
        lanes = EligibleLanes(services.part(Eligibility), lambda: Candidate(workflow.gpu))
        asker = Asker(UUID(worker.worker_id), worker.instance, WorkerOffer(workflow.gpu), lanes)
        return await claim_now(services, boards[number % len(boards)], asker)

    first = await asyncio.gather(*(claim(number) for number in range(len(workers))))
    assert sum(one is not None for one in first) == await running(services, workflow) == most

    async def work(number: int, claimed: Claimed | None) -> None:
        while len(done) < runs:
            if claimed is not None:
                seen.append(await running(services, workflow))
                answer = await workers[number].complete({"id": str(claimed.lease_id)})
                assert answer.status_code == 200, answer.text
                done.add(claimed.run_id)
            claimed = await claim(number)
            await asyncio.sleep(0.01)

    async with asyncio.timeout(60):
        await asyncio.gather(*(work(number, one) for number, one in enumerate(first)))
    assert len(done) == runs and max(seen) == most
