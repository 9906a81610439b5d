"""Which lane a worker serves next: a pure decision over a snapshot of the lanes that wait.

Organizations share first (start-time fair queueing: the one that has had the least engine time comes first), then
priority and age, then warmth. Age outgrows priority, and every lane of every organization is in the answer, so nothing
starves. Cost is O(lanes), never O(runs).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID, uuid5

ANY_GPU = "auto"

SECONDS_PER_PRIORITY = 60.0
"""A run that waited this long counts as one priority step higher."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane with waiting runs."""

    id: UUID
    org_id: UUID
    gpu_class: str
    """`auto`, or GPU codes in order of preference, e.g. `L40S,A100`."""
    fingerprint: str
    priority: int
    waited_seconds: float
    virtual_time: float
    """Engine seconds that the lane's organization has had (comparable among organizations that wait)."""
    depth: int = 1
    """How many runs wait in it."""


@dataclass(frozen=True, slots=True)
class WorkerOffer:
    """What a worker that asks for work is, and what it holds warm."""

    gpu_code: str
    fingerprints: frozenset[str]


def serves(gpu_class: str, worker: WorkerOffer) -> bool:
    """Tell whether this worker may serve lanes of this GPU class."""
    return gpu_class == ANY_GPU or worker.gpu_code in gpu_class.split(",")


def choose(lanes: Iterable[Lane], worker: WorkerOffer) -> list[UUID]:
    """Return the ids of all lanes this worker may serve, best first."""

    def rank(lane: Lane) -> tuple[float, float, bool, float, bytes]:
        urgency = lane.priority + lane.waited_seconds / SECONDS_PER_PRIORITY
        cold = lane.fingerprint not in worker.fingerprints
        return (lane.virtual_time, -round(urgency, 1), cold, -lane.waited_seconds, lane.id.bytes)

    return [lane.id for lane in sorted((lane for lane in lanes if serves(lane.gpu_class, worker)), key=rank)]


_NAMESPACE = UUID("6b1e6d0e-7d3f-5c0a-9a53-1f0c2f4f7f10")


def lane_id(org_id: UUID, version_id: UUID, gpu_class: str) -> UUID:
    """Return the id of the lane of (organization, version, GPU class): the same on every process, without a look-up."""
    return uuid5(_NAMESPACE, f"{org_id}/{version_id}/{gpu_class}")
