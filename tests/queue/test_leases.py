"""Leases through the Worker API: one holder, offers that lapse, renewals, zombies."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest

from runflow.db.transaction import Transaction
from runflow.ids import new_id
from runflow.queue import lane_queries
from runflow.queue.board import Board
from runflow.queue.choose import WorkerOffer
from runflow.queue.eligibility import Candidate, Eligibility, EligibleLanes
from runflow.queue.leases import Asker, claim_now
from runflow.queue.sweep_queries import OFFERS_IN_A_ROW
from runflow.queue.sweeper import OFFERS_PER_ATTEMPT, Sweeper
from runflow.web.services import Services
from runflow.workflows.runtime.known import Known
from tests.support.deployed import Deployed, Dispatch, MakeWorker, Worker
from tests.support.queue_records import expire, lane_counts


async def status(client: httpx.AsyncClient, run: dict[str, Any]) -> str:
    return str((await client.get(f"/v1/runs/{run['id']}")).json()["status_code"])


async def test_runs_of_a_lane_are_leased_in_order_and_once(dispatch: Dispatch, worker: Worker) -> None:
    runs = [await dispatch() for _ in range(3)]
    leases = [await worker.lease() for _ in range(4)]
    assert [lease["run_id"] for lease in leases if lease] == [run["id"] for run in runs]
    assert leases[3] is None


async def test_many_workers_never_get_the_same_run(
    dispatch: Dispatch, make_worker: MakeWorker, workflow: Deployed
) -> None:
    runs = await asyncio.gather(*(dispatch() for _ in range(12)))
    workers = [await make_worker(workflow.gpu) for _ in range(4)]
    leases = await asyncio.gather(*(worker.lease() for worker in workers for _ in range(3)))
    assert sorted(lease["run_id"] for lease in leases if lease) == sorted(run["id"] for run in runs)


async def test_a_waiting_worker_gets_a_run_as_soon_as_it_is_dispatched(dispatch: Dispatch, worker: Worker) -> None:
    poll = asyncio.create_task(worker.lease(wait=20))
    await asyncio.sleep(0)
    run = await dispatch()
    async with asyncio.timeout(30):
        lease = await poll
    assert lease is not None and lease["run_id"] == run["id"]


async def test_the_lease_holds_what_the_contract_says_and_no_more(
    workflow: Deployed, dispatch: Dispatch, worker: Worker
) -> None:
    await dispatch(client_ref="secret-ref", metadata={"secret": 1}, callback_url="https://example.com/secret")
    lease = await worker.lease()
    assert lease is not None
    assert set(lease) == {
        *("id", "run_id", "attempt_number", "expires_at", "version", "input", "files", "resources", "limits", "models"),
        *("uploads", "tracebacks", "domain", "cached"),
    }
    assert lease["uploads"] == []
    assert "secret" not in str(lease)
    assert lease["attempt_number"] == 1
    assert lease["limits"]["timeout_seconds"] == 1800
    assert [spec["name"] for spec in lease["version"]["interface"]["inputs"]] == ["prompt", "steps", "photo"]


async def test_a_lapsed_offer_is_no_attempt(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    run = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    assert await lane_counts(services, run["id"]) == (0, 1)
    await expire(services, lease)
    await Sweeper(services).sweep_offers()
    assert await status(client, run) == "queued"
    assert await lane_counts(services, run["id"]) == (1, 0)
    assert (await worker.heartbeat(lease)).json()["code"] == "LEASE_NOT_FOUND"
    again = await worker.lease()
    assert again is not None and again["attempt_number"] == 1


async def lapse(services: Services, worker: Worker) -> dict[str, Any]:
    """Let a worker take an offer and say nothing; return what was offered."""
    lease = await worker.lease(wait=20)  # the server's own sweeper may hold the run just now
    assert lease is not None
    await expire(services, lease)
    await Sweeper(services).sweep_offers()
    return lease


async def test_a_run_whose_offers_are_never_answered_ends_as_lost(
    client: httpx.AsyncClient,
    services: Services,
    dispatch: Dispatch,
    make_worker: MakeWorker,
    workflow: Deployed,
) -> None:
    run = await dispatch()
    numbers = []
    for _ in range(3 * OFFERS_PER_ATTEMPT):
        # Each in the hands of another worker, so that none is kept away.
        numbers.append((await lapse(services, await make_worker(workflow.gpu)))["attempt_number"])
    assert numbers == [number for number in (1, 2, 3) for _ in range(OFFERS_PER_ATTEMPT)]
    read = (await client.get(f"/v1/runs/{run['id']}?embed=attempts")).json()
    assert (read["status_code"], read["failure_code"], read["failure_stage_code"]) == (
        "failed",
        "WORKER_LOST",
        "dispatch",
    )
    assert f"offered {3 * OFFERS_PER_ATTEMPT} times" in read["failure_message"]
    assert [attempt["status_code"] for attempt in read["attempts"]] == ["lost", "lost", "lost"]
    assert read["cost"] == "0.000000"
    assert await lane_counts(services, run["id"]) == (0, 0)


async def test_a_worker_that_answers_no_offer_is_kept_away_for_a_while(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker, make_worker: MakeWorker
) -> None:
    run = await dispatch()
    for _ in range(OFFERS_IN_A_ROW):
        await lapse(services, worker)
    assert await worker.lease() is None
    async with asyncio.timeout(60):  # what is known of the workers is remembered for a second
        while "does not answer" not in (await client.get(f"/v1/runs/{run['id']}")).json()["waiting_reason"]:
            await asyncio.sleep(0.1)
    # After the pause it gets one offer; if that lapses too, it is kept away again.
    await end_pause(services, worker)
    await lapse(services, worker)
    assert await worker.lease() is None
    other = await make_worker(worker.gpu)
    lease = await other.lease()
    assert lease is not None and lease["run_id"] == run["id"]


async def test_a_worker_that_answers_in_between_is_not_kept_away(
    services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    for _ in range(OFFERS_IN_A_ROW):
        await dispatch()
        await lapse(services, worker)
        lease = await worker.lease(wait=20)
        assert lease is not None
        await worker.heartbeat(lease)
    await dispatch()
    assert await worker.lease(wait=20) is not None


async def test_a_worker_that_was_silent_once_with_its_hands_full_is_not_kept_away(
    services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    for _ in range(OFFERS_IN_A_ROW):
        await dispatch()
    leases = [await worker.lease() for _ in range(OFFERS_IN_A_ROW)]
    for lease in leases:
        assert lease is not None
        await expire(services, lease)
    await Sweeper(services).sweep_offers()
    assert await worker.lease(wait=20) is not None


async def end_pause(services: Services, worker: Worker) -> None:
    """Let a worker's pause be over now."""
    async with services.db.system() as transaction:
        statement = "UPDATE workers SET paused_until = now() - interval '1 second' WHERE id = %(id)s"
        await transaction.run(statement, {"id": worker.worker_id})


async def test_a_heartbeat_makes_the_run_running_and_reports_progress(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker
) -> None:
    run = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    at = "2026-01-01T00:00:00+00:00"
    events = [
        {"number": 1, "type": "status", "at": at, "data": {"status_code": "running"}},
        {"number": 2, "type": "progress", "at": at, "data": {"nodes_completed": 1, "nodes_total": 5}},
        {"number": 3, "type": "log", "at": at, "data": {"level_code": "info", "message": "hello"}},
    ]
    beat = await worker.heartbeat(lease, *events)
    assert beat.status_code == 200 and beat.json()["cancel"] is False
    await worker.heartbeat(lease, *events)
    read = (await client.get(f"/v1/runs/{run['id']}?embed=logs,attempts")).json()
    assert read["status_code"] == "running" and read["started_at"]
    assert (read["nodes_completed"], read["nodes_total"]) == (1, 5)
    assert [line["message"] for line in read["logs"]] == ["hello"]
    assert [attempt["number"] for attempt in read["attempts"]] == [1]


async def test_a_lost_worker_s_run_goes_to_another_and_the_zombie_changes_nothing(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker, make_worker: MakeWorker
) -> None:
    run = await dispatch()
    zombie = await worker.lease()
    assert zombie is not None
    await worker.heartbeat(zombie)
    output = await worker.upload(zombie)
    await expire(services, zombie)
    await Sweeper(services).sweep_leases()
    assert await status(client, run) == "queued"
    second = await make_worker(worker.gpu)
    lease = await second.lease()
    assert lease is not None and lease["attempt_number"] == 2
    late = await worker.complete(zombie, outputs=[output])
    assert (late.status_code, late.json()["code"]) == (409, "LEASE_LOST")
    assert (await worker.heartbeat(zombie)).json()["code"] == "LEASE_LOST"
    good = await second.upload(lease, b"second")
    assert (await second.complete(lease, outputs=[good])).json()["status_code"] == "succeeded"
    read = (await client.get(f"/v1/runs/{run['id']}?embed=attempts")).json()
    assert [attempt["status_code"] for attempt in read["attempts"]] == ["lost", "succeeded"]
    assert len(read["output"]["outputs"]) == 1
    assert (await client.get(read["output"]["outputs"][0]["url"])).content == b"second"
    assert await lane_counts(services, run["id"]) == (0, 0)


async def test_a_run_that_loses_three_workers_fails_with_the_reason(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    run = await dispatch()
    for _ in range(3):
        lease = await worker.lease()
        assert lease is not None
        await worker.heartbeat(lease)
        await expire(services, lease)
        await Sweeper(services).sweep_leases()
    read = (await client.get(f"/v1/runs/{run['id']}")).json()
    assert (read["status_code"], read["failure_code"]) == ("failed", "WORKER_LOST")
    assert worker.name in read["failure_message"]
    assert read["error"]["code"] == "WORKER_LOST"
    assert await lane_counts(services, run["id"]) == (0, 0)


async def test_a_renewed_lease_is_not_taken(services: Services, dispatch: Dispatch, worker: Worker) -> None:
    await dispatch()
    lease = await worker.lease()
    assert lease is not None
    await worker.heartbeat(lease)
    await Sweeper(services).sweep_leases()
    assert (await worker.heartbeat(lease)).status_code == 200


async def test_a_new_life_of_a_worker_ends_the_leases_of_the_old_one(
    client: httpx.AsyncClient, dispatch: Dispatch, worker: Worker, make_worker: MakeWorker
) -> None:
    run = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    await worker.heartbeat(lease)
    reborn = await make_worker(worker.gpu, worker.name)
    assert await status(client, run) == "queued"
    assert (await worker.heartbeat(lease)).json()["code"] == "LEASE_LOST"
    again = await reborn.lease()
    assert again is not None and again["run_id"] == run["id"]


async def test_a_worker_that_is_not_ready_or_not_known_gets_no_work(
    dispatch: Dispatch, worker: Worker, client: httpx.AsyncClient
) -> None:
    run = await dispatch()
    await worker.register("no_engine", status_detail="Install one with `runflow comfyui install`.")
    answer = await worker.http.post("/v1/worker/leases", json={**worker.me, "wait_seconds": 0})
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
    stranger = {**worker.me, "worker_id": str(new_id()), "wait_seconds": 0}
    assert (await worker.http.post("/v1/worker/leases", json=stranger)).status_code == 409
    assert await status(client, run) == "queued"


async def test_other_protocol_versions_are_told_to_upgrade(worker: Worker) -> None:
    body = {**worker.me, "protocol_version": 99, "wait_seconds": 0}
    answer = await worker.http.post("/v1/worker/leases", json=body)
    assert (answer.status_code, answer.json()["code"]) == (426, "UPGRADE_REQUIRED")


async def test_an_api_key_is_no_worker_token(client: httpx.AsyncClient, worker: Worker) -> None:
    answer = await client.post("/v1/worker/leases", json={**worker.me, "wait_seconds": 0})
    assert answer.status_code == 401


async def test_a_run_that_comes_alone_is_claimed_without_a_look_at_the_lanes(
    services: Services, dispatch: Dispatch, worker: Worker, workflow: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[list[UUID] | None] = []
    looking = lane_queries.waiting

    async def spied(transaction: Transaction, lanes: list[UUID] | None = None, **more: Any) -> Any:
        looks.append(lanes)
        return await looking(transaction, lanes, **more)

    monkeypatch.setattr(lane_queries, "waiting", spied)
    board = Board(services.db, services.hub)

    async def claim(gpu: str) -> UUID | None:
        lanes = EligibleLanes(services.part(Eligibility), lambda: Candidate(gpu))
        asker = Asker(UUID(worker.worker_id), worker.instance, WorkerOffer(gpu), lanes)
        claimed = await claim_now(services, board, asker)
        return None if claimed is None else claimed.run_id

    await services.part(Known).read_installation()
    board.backlog.looked(board.backlog.hints, 0)
    run = await dispatch()
    assert await claim(workflow.gpu) == UUID(run["id"]) and looks == []
    assert await claim(workflow.gpu) is None and looks == []
    run = await dispatch()
    assert await claim("ANOTHER") is None and len(looks) == 1, "whoever cannot serve it looks for others"
    assert await claim(workflow.gpu) == UUID(run["id"])


async def test_a_worker_gets_no_run_of_an_organization_that_it_declines(
    services: Services, dispatch: Dispatch, worker: Worker
) -> None:
    first, second = [await dispatch() for _ in range(2)]
    lease = await worker.lease(without=["none", str(new_id())])
    assert lease is not None and lease["run_id"] == first["id"]
    assert await worker.lease(without=[lease["domain"]]) is None
    room = {"without": [lease["domain"]]}
    assert (await worker.complete(lease, next=room)).json()["lease"] is None
    again = await worker.lease()
    assert again is not None and again["run_id"] == second["id"], "it may ask again at once"
    await dispatch()
    assert await worker.lease(without=[lease["domain"]]) is None, "nor where it is the only one that waits"


async def test_the_lease_says_whose_run_it_is(
    services: Services, workflow: Deployed, dispatch: Dispatch, worker: Worker
) -> None:
    run = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    async with services.db.system() as transaction:
        owner = await transaction.one_value("SELECT org_id FROM runs WHERE id = %(id)s", {"id": run["id"]}, of=UUID)
    assert lease["domain"] == str(owner)
