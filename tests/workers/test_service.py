"""Workers as the operator sees them, and draining."""

import asyncio

import httpx

from runflow.ids import new_id
from runflow.web.services import Services
from tests.support.application import MakeKey, new_org, open_client
from tests.support.deployed import Dispatch, Worker
from tests.support.waiting import until


async def test_a_worker_is_shown_with_what_it_is(operator: httpx.AsyncClient, worker: Worker) -> None:
    await worker.register(fingerprints=["what an older worker says"], labels={"rack": "3"}, engine={"kind": "owned"})
    found = (await operator.get("/v1/workers", params={"q": f"name:{worker.name} AND online:true"})).json()["items"]
    assert [row["id"] for row in found] == [worker.worker_id]
    (shown,) = found
    assert shown == (await operator.get(f"/v1/workers/{worker.worker_id}")).json()
    assert (shown["gpu_code"], shown["status_code"], shown["labels"]) == (worker.gpu, "ready", {"rack": "3"})
    assert (shown["engine"], shown["runs"]) == ({"kind": "owned"}, [])
    assert (shown["online"], shown["draining"]) == (True, False)


async def test_runs_of_other_organizations_are_not_shown(
    operator: httpx.AsyncClient,
    worker: Worker,
    dispatch: Dispatch,
) -> None:
    await dispatch()
    assert await worker.lease() is not None
    assert (await operator.get(f"/v1/workers/{worker.worker_id}")).json()["runs"] == []


async def test_a_draining_worker_finishes_what_it_has_and_gets_nothing_new(
    operator: httpx.AsyncClient,
    client: httpx.AsyncClient,
    worker: Worker,
    dispatch: Dispatch,
) -> None:
    first = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    answer = await operator.patch(f"/v1/workers/{worker.worker_id}", json={"draining": True})
    assert (answer.status_code, answer.json()["draining"]) == (200, True)
    second = await dispatch()
    assert await worker.lease() is None
    assert (await worker.complete(lease, outputs=[await worker.upload(lease)])).status_code == 200
    assert (await client.get(f"/v1/runs/{first['id']}")).json()["status_code"] == "succeeded"
    await worker.register()
    assert await worker.lease() is None, "draining outlives a registration"

    async def is_told() -> bool:
        told = (await client.get(f"/v1/runs/{second['id']}")).json()["waiting_reason"]
        return str(told).startswith(f"The worker {worker.name} is draining")

    await until(is_told, every=0.05)  # what is known of the workers is remembered for a second
    async with asyncio.timeout(30):
        waiting_poll = asyncio.create_task(worker.lease(wait=20))
        await asyncio.sleep(0)
        await operator.patch(f"/v1/workers/{worker.worker_id}", json={"draining": False})
        taken = await waiting_poll
    assert taken is not None and taken["run_id"] == second["id"]
    events = (await operator.get("/v1/audit-events", params={"q": f"target_id:{worker.worker_id}"})).json()["items"]
    assert [event["details"] for event in reversed(events)] == [{"draining": True}, {"draining": False}]


async def test_only_the_operator_s_organization_may_look(
    services: Services,
    make_key: MakeKey,
    operator: httpx.AsyncClient,
    worker: Worker,
) -> None:
    async with open_client(services, await make_key(org=await new_org(services))) as stranger:
        for answer in (
            await stranger.get("/v1/workers"),
            await stranger.get(f"/v1/workers/{worker.worker_id}"),
            await stranger.patch(f"/v1/workers/{worker.worker_id}", json={"draining": True}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")
    assert (await operator.get(f"/v1/workers/{worker.worker_id}")).json()["draining"] is False


async def test_an_unknown_worker_is_not_found(operator: httpx.AsyncClient) -> None:
    path = f"/v1/workers/{new_id()}"
    for answer in (await operator.get(path), await operator.patch(path, json={"draining": True})):
        assert (answer.status_code, answer.json()["code"]) == (404, "WORKER_NOT_FOUND")


async def test_a_worker_that_is_gone_is_removed_and_comes_back_when_it_registers(
    operator: httpx.AsyncClient, services: Services, worker: Worker, dispatch: Dispatch
) -> None:
    path = f"/v1/workers/{worker.worker_id}"
    answer = await operator.delete(path)
    assert answer.status_code == 409 and worker.name in answer.json()["message"], "it is connected"
    await dispatch()
    lease = await worker.lease()
    assert lease is not None

    async def away() -> None:
        async with services.db.system() as transaction:
            await transaction.run(
                "UPDATE workers SET last_seen_at = now() - interval '1 hour' WHERE id = %(id)s",
                {"id": worker.worker_id},
            )

    await away()
    assert (await operator.delete(path)).status_code == 409, "it holds a run"
    await worker.complete(lease, outputs=[await worker.upload(lease)])
    await away()
    assert (await operator.delete(path)).status_code == 204
    assert (await operator.get(path)).status_code == 404
    assert (await operator.delete(path)).status_code == 404
    assert (await operator.patch(path, json={"draining": True})).status_code == 404
    assert (await operator.get("/v1/workers", params={"q": f"name:{worker.name}"})).json()["items"] == []
    await worker.register()
    assert (await operator.get(path)).json()["name"] == worker.name


async def test_a_stranger_removes_no_worker(services: Services, make_key: MakeKey, worker: Worker) -> None:
    async with open_client(services, await make_key(org=await new_org(services))) as stranger:
        assert (await stranger.delete(f"/v1/workers/{worker.worker_id}")).status_code == 403
