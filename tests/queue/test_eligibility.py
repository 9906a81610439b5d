"""A lane is offered only to workers that can run its version."""

import asyncio
import time
from typing import Any
from uuid import UUID

import httpx
import pytest

from runflow.ids import new_id
from runflow.protocol.abilities import ModelFile, Sandbox
from runflow.queue import gpu_order, leases
from runflow.queue.board import Board
from runflow.queue.choose import WorkerOffer
from runflow.queue.eligibility import Candidate, Eligibility, EligibleLanes
from runflow.queue.eligibility_queries import LaneVersion
from runflow.queue.lineup import Lane
from runflow.web.services import Services
from runflow.workers.abilities import EngineAbilities
from runflow.workflows.runtime.known import Known
from runflow.workflows.runtime.requirements import Requirements
from tests.support.able import CLASSES, SHA256, MakeAble, told
from tests.support.application import MakeKey, open_client, operator_org
from tests.support.deployed import PROMPT, Deployed, Dispatch, MakeWorker, Worker
from tests.support.waiting import until

SANDBOX = {"rung": "uid", "separates_files": False, "isolation": "organization"}


async def deploy(client: httpx.AsyncClient, gpus: list[str], **more: Any) -> Deployed:
    body = {"name": "P", "slug": f"p-{new_id().hex[-8:]}", "workflow_json": PROMPT, **more}
    answer = await client.post(
        "/v1/comfyui-workflows", json={**body, "gpu_mode": "explicit", "gpu_explicit_models": gpus}
    )
    assert answer.status_code == 201, answer.text
    return Deployed(answer.json()["id"], answer.json()["path"], gpus[0])


async def run_of(client: httpx.AsyncClient, workflow: Deployed) -> str:
    answer = await client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json={"input": {"prompt": "x"}})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def taken(worker: Worker, wait: float = 0) -> str | None:
    lease = await worker.lease(wait)
    return None if lease is None else str(lease["run_id"])


async def test_a_hundred_runs_that_need_a_pack_all_succeed_where_it_is(
    client: httpx.AsyncClient, able: MakeAble, dispatch: Dispatch, workflow: Deployed
) -> None:
    without = await able(CLASSES - {"Anything"})
    runs = [(await dispatch())["id"] for _ in range(100)]
    others = await deploy(
        client,
        [workflow.gpu],
        workflow_json={key: node for key, node in PROMPT.items() if key == "1"}
        | {"9": {"class_type": "RunflowOutputImage", "inputs": {"output_id": "picture", "value": ["1", 0]}}},
    )
    assert await taken(without) is None, "it idles"
    having = await able()
    plain = await run_of(client, others)
    assert await taken(without, 20) == plain, "it does other lanes"
    assert await taken(without) is None
    done: list[str] = []
    while len(done) < len(runs):
        lease = await having.lease(wait=20)
        assert lease is not None
        assert (await having.complete(lease, outputs=[await having.upload(lease)])).status_code == 200
        done.append(lease["run_id"])
        assert await taken(without) is None
    assert sorted(done) == sorted(runs)
    page = await client.get("/v1/runs", params={"q": f"comfyui_workflow_id:{workflow.id}", "limit": "100"})
    assert {run["status_code"] for run in page.json()["items"]} == {"succeeded"}


async def test_a_worker_that_told_nothing_gets_every_lane(worker: Worker, dispatch: Dispatch) -> None:
    run = await dispatch()
    assert await taken(worker, 20) == run["id"]


async def test_a_run_that_comes_while_both_wait_goes_to_the_one_that_can(able: MakeAble, dispatch: Dispatch) -> None:
    without, having = await able(CLASSES - {"Anything"}), await able()
    async with asyncio.timeout(60):
        for _ in range(5):
            waiting = [asyncio.create_task(worker.lease(wait=3)) for worker in (without, having)]
            run = await dispatch()
            lost, found = await asyncio.gather(*waiting)
            assert lost is None
            assert found is not None and found["run_id"] == run["id"]
            await having.complete(found, outputs=[await having.upload(found)])


async def test_what_a_worker_learns_to_do_it_is_offered(able: MakeAble, dispatch: Dispatch) -> None:
    worker = await able(CLASSES - {"Anything"})
    run = await dispatch()
    assert await taken(worker) is None
    answer = await worker.register(**{**told(), "lists": None})
    # Another list, which nobody has sent yet, or somebody in an earlier test.
    if answer["wants"]:
        assert await taken(worker) is None, "until it has told all of it"
        await worker.register(**told())
    assert await taken(worker, 20) == run["id"]


async def test_a_model_counts_when_it_is_there_or_can_be_fetched(
    client: httpx.AsyncClient, services: Services, able: MakeAble, workflow: Deployed
) -> None:
    models = {"loras/mine.safetensors": {"sha256": SHA256}}
    wanted = await deploy(client, [workflow.gpu], models=models)
    run = await run_of(client, wanted)
    fetches, attached = await able(places_models=True), await able()
    assert (await taken(fetches), await taken(attached)) == (None, None)
    has_it = await able(models=[ModelFile(path="loras/mine.safetensors")])
    assert await taken(has_it, 20) == run
    second = await run_of(client, wanted)
    me = (await client.get(f"/v1/comfyui-workflows/{wanted.id}")).json()
    values = {"id": new_id(), "org": UUID(me["org_id"]), "sha256": SHA256}
    async with services.db.system() as transaction:
        await transaction.run(
            "INSERT INTO models (id, org_id, sha256, size_bytes, filename, object_key) "
            "VALUES (%(id)s, %(org)s, %(sha256)s, 5, 'mine.safetensors', 'models/test')",
            values,
        )
    assert await taken(attached) is None

    async def gets_it() -> bool:
        return await taken(fetches) == second

    await until(gets_it)  # what is uploaded is looked for once a second


async def test_labels_are_asked_for_as_they_are_now(
    client: httpx.AsyncClient, able: MakeAble, workflow: Deployed
) -> None:
    worker = await able(registers={"labels": {"rack": "3"}})
    wanted = await deploy(client, [workflow.gpu], worker_labels={"rack": "4"})
    run = await run_of(client, wanted)
    assert await taken(worker) is None

    async def says_why() -> bool:
        reason = (await client.get(f"/v1/runs/{run}")).json()["waiting_reason"]
        return f"{worker.name} lacks the label rack=4" in reason and "--label rack=4" in reason

    await until(says_why)
    answer = await client.patch(f"/v1/comfyui-workflows/{wanted.id}", json={"worker_labels": {"rack": "3"}})
    assert answer.json()["worker_labels"] == {"rack": "3"}
    assert await taken(worker, 20) == run
    cleared = await client.patch(f"/v1/comfyui-workflows/{wanted.id}", json={"worker_labels": {}})
    assert cleared.json()["worker_labels"] is None


async def test_what_cannot_keep_organizations_apart_serves_the_operator_s(
    services: Services, client: httpx.AsyncClient, able: MakeAble, make_key: MakeKey, workflow: Deployed
) -> None:
    worker = await able(registers={"sandbox": SANDBOX})
    run = await run_of(client, workflow)
    assert await taken(worker) is None

    async def says_why() -> bool:
        reason = (await client.get(f"/v1/runs/{run}")).json()["waiting_reason"]
        return "RUNFLOW_ISOLATION=worker" in reason and worker.name in reason

    await until(says_why)  # what is known of the workers is remembered for a second
    async with open_client(services, await make_key(org=await operator_org(services))) as operator:
        theirs = await run_of(operator, await deploy(operator, [workflow.gpu]))
    assert await taken(worker, 20) == theirs
    trusting = await able(registers={"sandbox": {**SANDBOX, "isolation": "worker"}})
    assert await taken(trusting, 20) == run


async def test_the_first_class_of_a_list_comes_first(
    client: httpx.AsyncClient, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (f"GPU-{new_id().hex[-8:]}" for _ in range(2))
    best, other = await make_worker(first), await make_worker(second)
    wanted = await deploy(client, [first, second])
    run = await run_of(client, wanted)
    assert await taken(other) is None
    assert await taken(best, 20) == run
    again = await run_of(client, wanted)
    monkeypatch.setattr(gpu_order, "STEP_SECONDS", 0.0)
    assert await taken(other, 20) == again, "its turn has come"


NOW = 1_000_000.0


@pytest.fixture
def alone(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sees the workers of other tests, whose GPUs would come before a worker without one."""

    async def nobody(*_: object) -> list[object]:
        return []

    monkeypatch.setattr("runflow.workers.queries.working_classes", nobody)
    monkeypatch.setattr(services.part(Known), "read_at", float("-inf"))


def lanes(count: int) -> list[Lane]:
    return [
        Lane(new_id(), new_id(), "auto", "f", oldest_at=NOW - number, waits_since=NOW - number)
        for number in range(count)
    ]


@pytest.mark.usefixtures("alone")
async def test_ten_thousand_lanes_that_are_known_cost_little(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    eligibility, known = services.part(Eligibility), services.part(Known)
    waiting = lanes(10_000)
    versions = {lane.id: new_id() for lane in waiting}
    worker = Candidate("CPU", abilities=EngineAbilities(new_id().hex, node_types=frozenset({"A"})))
    asked: list[int] = []

    async def lane_versions(_: object, wanted: list[UUID]) -> list[LaneVersion]:
        asked.append(len(wanted))
        return [LaneVersion(lane, versions[lane], new_id()) for lane in wanted]

    async def read(_: object, wanted: set[UUID]) -> dict[UUID, Requirements]:
        even = {one for number, one in enumerate(versions.values()) if number % 2 == 0}
        return {one: Requirements(new_id(), ("A",) if one in even else ("B",)) for one in wanted}

    monkeypatch.setattr("runflow.queue.eligibility_queries.lane_versions", lane_versions)
    monkeypatch.setattr(known.requirements, "read", read)
    before = len(await eligibility.among(waiting, worker, NOW))
    assert 0 < before < 5_000 and asked == [200], "some to begin with, the longest waiting first"
    for _ in range(60):
        found = await eligibility.among(waiting, worker, NOW)
    assert [lane.id for lane in found] == [lane.id for lane in waiting[::2]] or len(found) == 5_000
    assert sum(asked) == 10_000, "each is looked up once"
    began = time.process_time()
    for _ in range(20):
        await eligibility.among(waiting, worker, NOW)
    assert (time.process_time() - began) / 20 < 0.1, "a few milliseconds, many times over"


@pytest.mark.usefixtures("alone")
async def test_what_no_longer_fits_in_memory_is_looked_up_again(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    eligibility, known = services.part(Eligibility), services.part(Known)
    waiting = lanes(30)
    workers = [Candidate("CPU", abilities=EngineAbilities(name, node_types=frozenset({name}))) for name in ("A", "B")]

    async def lane_versions(_: object, wanted: list[UUID]) -> list[LaneVersion]:
        return [LaneVersion(lane, lane, new_id()) for lane in wanted]

    async def read(_: object, wanted: set[UUID]) -> dict[UUID, Requirements]:
        return {one: Requirements(new_id(), ("AB"[list(ids).index(one) % 2],)) for one in wanted}

    ids = {lane.id: None for lane in waiting}
    monkeypatch.setattr("runflow.queue.eligibility_queries.lane_versions", lane_versions)
    monkeypatch.setattr(known.requirements, "read", read)
    monkeypatch.setattr("runflow.queue.eligibility.MOST_LANES", 7)
    monkeypatch.setattr("runflow.queue.eligibility.AT_ONCE", 4)
    served: dict[str, set[UUID]] = {"A": set(), "B": set()}
    for _ in range(20):
        for worker in workers:
            assert worker.abilities is not None
            served[worker.abilities.key] |= {one.id for one in await eligibility.among(waiting, worker, NOW)}
            left = [one for one in waiting if one.id not in served[worker.abilities.key]]
            served[worker.abilities.key] |= {one.id for one in await eligibility.among(left, worker, NOW)}
    assert [served["A"], served["B"]] == [{one.id for one in waiting[start::2]} for start in (0, 1)]


@pytest.mark.usefixtures("alone")
async def test_a_fleet_of_many_different_engines_is_not_judged_anew_at_every_look(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    eligibility, known = services.part(Eligibility), services.part(Known)
    waiting, asked = lanes(20), []
    workers = [
        Candidate("CPU", abilities=EngineAbilities(new_id().hex, node_types=frozenset({"A"}))) for _ in range(100)
    ]

    async def lane_versions(_: object, wanted: list[UUID]) -> list[LaneVersion]:
        return [LaneVersion(lane, lane, new_id()) for lane in wanted]

    async def read(_: object, wanted: set[UUID]) -> dict[UUID, Requirements]:
        asked.append(len(wanted))
        return {one: Requirements(new_id(), ("A",)) for one in wanted}

    monkeypatch.setattr("runflow.queue.eligibility_queries.lane_versions", lane_versions)
    monkeypatch.setattr(known.requirements, "read", read)
    for _ in range(3):
        for worker in workers:
            assert len(await eligibility.among(waiting, worker, NOW)) == 20
    assert asked == [20] * 100
    monkeypatch.setattr("runflow.queue.eligibility.MOST_VERDICTS", 100)
    newest = Candidate("CPU", abilities=EngineAbilities(new_id().hex, node_types=frozenset({"A"})))
    assert len(await eligibility.among(waiting, newest, NOW)) == 20
    assert sum(map(len, eligibility._verdicts.values())) <= 100 + 20
    assert len(await eligibility.among(waiting, workers[-1], NOW)) == 20
    assert asked == [20] * 101, "the oldest have left"


@pytest.mark.usefixtures("alone")
async def test_who_waits_beside_lanes_that_are_not_for_it_looks_only_at_new_ones(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    eligibility, known = services.part(Eligibility), services.part(Known)
    board, looks = Board(services.db, services.hub), []
    worker = Candidate("CPU", abilities=EngineAbilities(new_id().hex, node_types=frozenset({"A"})))
    needs: dict[UUID, str] = {}

    async def lane_versions(_: object, wanted: list[UUID]) -> list[LaneVersion]:
        return [LaneVersion(lane, lane, new_id()) for lane in wanted]

    async def read(_: object, wanted: set[UUID]) -> dict[UUID, Requirements]:
        return {one: Requirements(new_id(), (needs.get(one, "B"),)) for one in wanted}

    async def no_labels(_: object) -> list[object]:
        return []

    verdict = eligibility.verdict

    def spied(lane: Lane, candidate: Candidate, now: float) -> bool | None:
        looks.append(lane.id)
        return verdict(lane, candidate, now)

    async def chosen() -> UUID | None:
        del looks[:]
        choice = await leases._choose(board, asker, set())
        return None if choice is None else choice.lane.id

    monkeypatch.setattr("runflow.queue.eligibility_queries.lane_versions", lane_versions)
    monkeypatch.setattr("runflow.workflows.runtime.queries.labels", no_labels)  # of workflows of other tests
    monkeypatch.setattr(known.requirements, "read", read)
    monkeypatch.setattr(eligibility, "verdict", spied)
    monkeypatch.setattr(known, "read_at", float("-inf"))
    asker = leases.Asker(new_id(), new_id(), WorkerOffer("CPU"), EligibleLanes(eligibility, lambda: worker))
    old = lanes(300)
    for lane in old:
        board.lineup.put(lane, 0.0)
    assert await chosen() is None and len(looks) >= 300
    for _ in range(3):
        assert await chosen() is None and looks == []
    (other,) = lanes(1)
    board.lineup.put(other, 0.0)
    assert await chosen() is None and len(looks) >= 301, "nothing is known of it yet"
    assert await chosen() is None and looks == []
    (mine,) = lanes(1)
    needs[mine.id] = "A"
    board.lineup.put(mine, 0.0)
    assert await chosen() == mine.id
    board.lineup.remove(mine.id)
    assert await chosen() is None and await chosen() is None and looks == []
    for _ in range(2_000):
        board.lineup.put(old[0], 0.0)
    assert await chosen() is None and len(looks) >= 301, "so many came that none is known"
    worker = Candidate("CPU", abilities=worker.abilities, labels={"rack": "1"})
    assert await chosen() is None and len(looks) >= 301, "it has registered anew"


@pytest.mark.usefixtures("alone")
async def test_a_lane_that_is_new_is_found_out_about_while_others_have_work(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    eligibility, known = services.part(Eligibility), services.part(Known)
    old, new = lanes(2)
    worker = Candidate("CPU", abilities=EngineAbilities(new_id().hex, node_types=frozenset({"A"})))

    async def lane_versions(_: object, wanted: list[UUID]) -> list[LaneVersion]:
        return [LaneVersion(lane, lane, new_id()) for lane in wanted]

    async def read(_: object, wanted: set[UUID]) -> dict[UUID, Requirements]:
        return {one: Requirements(new_id(), ("A",)) for one in wanted}

    monkeypatch.setattr("runflow.queue.eligibility_queries.lane_versions", lane_versions)
    monkeypatch.setattr(known.requirements, "read", read)
    assert await eligibility.among([old], worker, NOW) == [old]
    assert eligibility.verdict(new, worker, NOW) is None, "that is to be looked up"
    assert len(await eligibility.among([old, new], worker, NOW)) == 2
    assert eligibility.verdict(new, worker, NOW) is True
    assert eligibility.may_take(new.id, "auto", worker)
    confined = Candidate("CPU", sandbox=Sandbox(rung="uid", separates_files=False, isolation="run"))
    assert eligibility.may_take(new.id, "auto", confined) is (not known.installation.several)


@pytest.mark.usefixtures("alone")
async def test_who_does_not_know_that_there_are_others_gets_none_of_their_runs(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_labels(_: object) -> list[object]:
        return []

    eligibility, known = services.part(Eligibility), services.part(Known)
    monkeypatch.setattr("runflow.workflows.runtime.queries.labels", no_labels)  # of workflows of other tests
    monkeypatch.setattr(known, "read_at", float("-inf"))
    installation = await known.read_installation()
    (theirs,) = lanes(1)
    worker = Candidate("CPU")
    outdated, current, careless = (
        EligibleLanes(eligibility, lambda: worker, told_several=told)
        for told in (not installation.several, installation.several, None)
    )
    assert (await outdated.among([theirs], NOW), outdated.verdict(theirs, NOW)) == ([], False)
    assert not outdated.may_take(theirs.id, "auto")
    for one in (current, careless):
        assert await one.among([theirs], NOW) == [theirs]


async def test_a_worker_that_was_told_otherwise_of_the_organizations_has_to_register_again(
    services: Services, make_worker: MakeWorker
) -> None:
    worker = await make_worker()
    several = (await services.part(Known).read_installation()).several
    answers = [
        await worker.http.post(
            "/v1/worker/leases", json={**worker.me, "wait_seconds": 0, "several_organizations": told}
        )
        for told in (several, not several)
    ]
    assert [answer.status_code for answer in answers] == [200, 409]
    assert "register this worker again" in answers[1].text
