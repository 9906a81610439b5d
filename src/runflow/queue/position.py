"""Where a run stands in its lane, and how long it will probably wait (docs/api/runs.md, "Why a run waits")."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from runflow.protocol.workers import CPU
from runflow.queue import queries
from runflow.queue.lineup import ANY_GPU, serves
from runflow.queue.rows import LaneLoad, RunPlace
from runflow.web.services import Services
from runflow.workers.queries import CONNECTED_SECONDS, ConnectedWorker, connected
from runflow.workflows.runtime import service as runtime


@dataclass(frozen=True, slots=True)
class Position:
    """What a waiting run's caller is told: 1 is the next one of its lane, and seconds where they can be foreseen."""

    queue_position: int
    estimated_wait_seconds: float | None


async def position_of(services: Services, org_id: UUID, run_id: UUID) -> Position | None:
    """Return where a run of this organization stands; None when it does not wait (any more)."""
    async with services.db.system(durable=False) as transaction:
        place = await queries.place(transaction, org_id, run_id)
        if place is None:
            return None
        workers, lanes = await connected(transaction, CONNECTED_SECONDS), await queries.loads(transaction, place)
    fits = await runtime.fits_of(
        services,
        org_id=place.org_id,
        workflow_id=place.comfyui_workflow_id,
        version_id=place.version_id,
        gpu_class=place.gpu_class,
    )
    lacking = {fit.machine.worker.id for fit in fits if not fit.is_able}
    able = [one for one in workers if one.id not in lacking]
    if place.gpu_class == ANY_GPU and any(one.takes_runs and one.gpu_code != CPU for one in able):
        able = [one for one in able if one.gpu_code != CPU]
    return Position(place.ahead + 1, estimate(place, lanes, able))


def estimate(place: RunPlace, lanes: Sequence[LaneLoad], workers: Sequence[ConnectedWorker]) -> float | None:
    """Foresee a wait in seconds from the pace that the lanes had so far; None where no machine would take the run.

    `lanes` are those with runs. What is before the run in its organization's lanes shares the machines that may serve
    it with every other organization that waits for them, as the queue shares them (`choose.py`); and where all of them
    are busy, the first gets free after its share of an ordinary run. A cap of its workflow leaves it so many of them at
    most. A lane that has never completed a run counts a
    second.
    """
    machines = [worker for worker in workers if worker.takes_runs and serves(place.gpu_class, worker.gpu_code)]
    if not machines:
        return None
    rivals = [lane for lane in lanes if any(serves(lane.gpu_class, worker.gpu_code) for worker in machines)]
    before = sum(lane.ahead * lane.expected_seconds for lane in rivals if lane.org_id == place.org_id)
    others = {lane.org_id for lane in rivals if lane.queued and lane.org_id != place.org_id}
    running = sum(lane.running for lane in rivals)
    busy = 0.0
    if running >= len(machines):
        average = sum(lane.running * lane.expected_seconds for lane in rivals) / running
        busy = average / (len(machines) + 1)
    hands = min(len(machines), place.most or len(machines))
    return round(busy + before * (1 + len(others)) / hands, 1)
