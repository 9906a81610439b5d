"""Where a run stands, and how long it will wait: the decision, and what the database counts."""

from uuid import UUID

import httpx
import pytest

from runflow.ids import new_id
from runflow.queue.position import estimate
from runflow.queue.rows import LaneLoad, RunPlace
from runflow.workers.queries import ConnectedWorker
from tests.support.able import CLASSES, MakeAble
from tests.support.deployed import Dispatch, Worker
from tests.support.waiting import until

MINE, OTHER = new_id(), new_id()


def worker(gpu: str = "L40S", **more: object) -> ConnectedWorker:
    values = {"status_code": "ready", "status_detail": None, "draining": False, "paused": False, **more}
    return ConnectedWorker(id=new_id(), name="box", gpu_code=gpu, **values)  # type: ignore[arg-type]


def place(ahead: int = 0, gpu: str = "L40S") -> RunPlace:
    return RunPlace(
        run_id=new_id(), org_id=MINE, gpu_class=gpu, version_id=new_id(), comfyui_workflow_id=new_id(), ahead=ahead
    )


def lane(
    org: UUID = MINE, *, gpu: str = "L40S", queued: int = 0, running: int = 0, seconds: float = 10, ahead: int = 0
) -> LaneLoad:
    return LaneLoad(org_id=org, gpu_class=gpu, queued=queued, running=running, expected_seconds=seconds, ahead=ahead)


def test_what_is_before_it_takes_its_time() -> None:
    assert estimate(place(3), [lane(queued=4, ahead=3)], [worker()]) == 30
    assert estimate(place(3), [lane(queued=4, ahead=3)], [worker(), worker()]) == 15
    assert estimate(place(), [lane(queued=1)], [worker()]) == 0


def test_busy_machines_have_to_get_free_first() -> None:
    assert estimate(place(), [lane(queued=1, running=1)], [worker()]) == 5
    assert estimate(place(), [lane(queued=1, running=1)], [worker(), worker()]) == 0, "one of them is free"


def test_other_organizations_that_wait_get_their_share() -> None:
    rival = lane(OTHER, queued=50)
    assert estimate(place(2), [lane(queued=3, ahead=2), rival], [worker()]) == 40
    assert estimate(place(2), [lane(queued=3, ahead=2), lane(OTHER, gpu="H100", queued=50)], [worker()]) == 20
    assert estimate(place(2), [lane(queued=3, ahead=2), lane(OTHER, running=0)], [worker()]) == 20


def test_another_lane_of_the_organization_comes_first_where_its_runs_are_older() -> None:
    assert estimate(place(), [lane(queued=1), lane(gpu="auto", queued=7, ahead=7, seconds=2)], [worker()]) == 14


@pytest.mark.parametrize(
    "machine",
    [worker("L4"), worker(draining=True), worker(paused=True), worker(status_code="engine_down")],
    ids=["other GPU", "draining", "paused", "no engine"],
)
def test_nothing_is_foreseen_where_nobody_would_take_it(machine: ConnectedWorker) -> None:
    assert estimate(place(), [lane(queued=1)], [machine]) is None
    assert estimate(place(gpu="auto"), [lane(queued=1)], []) is None


async def test_a_waiting_run_says_where_it_stands(
    client: httpx.AsyncClient, worker: Worker, dispatch: Dispatch
) -> None:
    first, *runs = [await dispatch() for _ in range(4)]

    async def stands(run: dict[str, str]) -> tuple[int | None, float | None]:
        read = (await client.get(f"/v1/runs/{run['id']}")).json()
        return read["queue_position"], read["estimated_wait_seconds"]

    assert [(await stands(run))[0] for run in (first, *runs)] == [1, 2, 3, 4]
    assert (await stands(runs[2]))[1] == 3, "a lane that has completed nothing counts a second per run"
    assert runs[0]["queue_position"] is None, "the answer to a dispatch does not look it up"
    lease = await worker.lease()
    assert lease is not None and lease["run_id"] == first["id"]
    assert await stands(first) == (None, None)
    assert [(await stands(run))[0] for run in runs] == [1, 2, 3]
    listed = (await client.get("/v1/runs", params={"q": f"id:{runs[0]['id']}"})).json()["items"]
    assert listed[0]["queue_position"] is None
    shown = (await client.get(f"/v1/runs/{runs[1]['id']}", params={"fields": "queue_position"})).json()
    assert shown["queue_position"] == 2


async def test_no_machine_no_estimate(client: httpx.AsyncClient, dispatch: Dispatch) -> None:
    read = (await client.get(f"/v1/runs/{(await dispatch())['id']}")).json()
    assert (read["queue_position"], read["estimated_wait_seconds"]) == (1, None)


async def test_a_machine_that_cannot_run_it_shortens_no_wait(
    client: httpx.AsyncClient, able: MakeAble, dispatch: Dispatch
) -> None:
    await able(CLASSES - {"Anything"})
    run = await dispatch()

    async def is_not_foreseen() -> bool:
        read = (await client.get(f"/v1/runs/{run['id']}")).json()
        assert read["queue_position"] == 1
        return read["estimated_wait_seconds"] is None

    await until(is_not_foreseen)  # what is known of the workers is remembered for a second
