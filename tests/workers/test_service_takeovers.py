"""Two processes of one name: the later one has it, the earlier one is told to end, and the record counts it."""

from typing import Any

import httpx

from runflow.ids import new_id
from runflow.web.services import Services
from runflow.workers import service
from tests.support.deployed import Dispatch, MakeWorker, Worker
from tests.support.waiting import until


def of_the_name(first: Worker) -> Worker:
    """Another process with the name and the token of a worker."""
    return Worker(first.http, first.name, first.gpu)


async def ask(worker: Worker) -> httpx.Response:
    return await worker.http.post("/v1/worker/leases", json={**worker.me, "wait_seconds": 0})


async def say_again(worker: Worker) -> httpx.Response:
    body = {"protocol_version": 1, "name": worker.name, "instance": str(worker.instance), "status": "engine_down"}
    return await worker.http.post("/v1/worker/registrations", json=body)


async def shown(services: Services, worker: Worker) -> dict[str, Any]:
    async with services.db.system() as transaction:
        statement = "SELECT to_json(w) FROM workers w WHERE name = %(name)s"
        return await transaction.one_value(statement, {"name": worker.name}, of=dict)


async def test_the_earlier_process_is_told_to_end_and_takes_nothing_back(
    client: httpx.AsyncClient, services: Services, worker: Worker, dispatch: Dispatch
) -> None:
    run = await dispatch()
    lease = await worker.lease(20)
    assert lease is not None
    await worker.heartbeat(lease)
    second = of_the_name(worker)
    await second.register()
    assert (await worker.heartbeat(lease)).json()["code"] == "LEASE_LOST"
    for answer in (await ask(worker), await say_again(worker), await ask(worker)):
        assert (answer.status_code, answer.json()["code"]) == (409, "WORKER_SUPERSEDED")
    again = await second.lease(20)
    assert again is not None and again["run_id"] == run["id"]
    assert (await second.heartbeat(again)).status_code == 200
    read = (await client.get(f"/v1/runs/{run['id']}?embed=attempts")).json()
    assert "another process took its name" in read["attempts"][0]["failure_message"]
    row = await shown(services, worker)
    assert (row["takeovers"], row["status_code"]) == (1, "ready")
    assert row["taken_over_at"] is not None


async def test_a_process_that_was_only_started_again_counts_as_none(services: Services, worker: Worker) -> None:
    second = of_the_name(worker)
    await second.register()
    assert await second.lease() is None
    assert (await shown(services, worker))["takeovers"] == 0


async def test_who_registered_elsewhere_is_noticed_by_the_server_that_knew_the_earlier_one(
    services: Services, worker: Worker
) -> None:
    """As another process of the server does it: nothing reaches what this one remembers."""
    async with services.db.system() as transaction:
        statement = """
            UPDATE workers SET former_instances = ARRAY[instance], instance = %(new)s, status_code = 'engine_down'
            WHERE name = %(name)s
        """
        await transaction.run(statement, {"name": worker.name, "new": new_id()})
    answer = await until(lambda: _refused(worker), every=0.5)
    assert answer["code"] == "WORKER_SUPERSEDED"


async def _refused(worker: Worker) -> dict[str, Any] | None:
    answer = await ask(worker)
    return None if answer.status_code == 200 else dict(answer.json())


async def test_a_status_that_is_wrong_heals_when_the_worker_asks_for_work(
    services: Services, make_worker: MakeWorker
) -> None:
    worker = await make_worker("NOBODYS")
    async with services.db.system() as transaction:
        statement = "UPDATE workers SET status_code = 'engine_down', status_detail = 'x' WHERE name = %(name)s"
        await transaction.run(statement, {"name": worker.name})

    async def is_ready() -> bool:
        assert (await ask(worker)).status_code == 200
        return str((await shown(services, worker))["status_code"]) == "ready"

    await until(is_ready, every=0.5)
    assert (await shown(services, worker))["status_detail"] is None
    assert await service.is_connected(services, worker.name)
