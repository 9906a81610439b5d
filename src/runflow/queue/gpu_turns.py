"""Which connected GPU classes could take a lane's runs, and in which turn: so that nobody waits for one that cannot.

Asked for each lane at each look of a worker, so it is answered from memory. It matters only where classes differ in
price, or where some workers have a GPU and others none.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from runflow.protocol.abilities import Sandbox
from runflow.protocol.workers import CPU
from runflow.queue.eligibility_queries import LaneVersion
from runflow.queue.gpu_order import fits, have_order, turns_of
from runflow.queue.lineup import Lane
from runflow.sources.known import ApprovedSources
from runflow.workers.abilities import Told
from runflow.workers.queries import GpuClass
from runflow.workflows.runtime.known import Installation, Known, Machine
from runflow.workflows.runtime.requirements import Requirements
from runflow.workflows.runtime.satisfies import Difference, is_built, lacks_labels, serves_operator_only

MOST_LANES = 50_000
BELIEVED_SECONDS = 30.0
"""How long an answer holds while the machines stay alike: models that were uploaded since change it."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """Workers that are alike in all that decides which lanes they may serve."""

    gpu: GpuClass
    labels: tuple[tuple[str, str], ...]
    abilities: str | None
    sandbox: Sandbox | None
    refused: frozenset[UUID]
    cannot_build: frozenset[UUID]
    """Versions whose build failed for good on it."""


class GpuTurns:
    """What a server process remembers of the turns of GPU classes, by lane."""

    def __init__(self, known: Known, approved: ApprovedSources) -> None:
        """Go by what is known of workers and versions, and of the operator's approvals."""
        self._known = known
        self._approved = approved
        self._installation: Installation | None = None
        self._gpus_differ = False
        self._has_gpus = False
        self._machines: list[Machine] | None = None
        self._kinds: dict[_Kind, Told] = {}
        self._turns: dict[int, tuple[int, float, Mapping[str, int]]] = {}

    def matter(self, gpu_code: str) -> bool:
        """Tell whether it matters to a worker of this class which others are there."""
        self._look_at_installation()
        return self._has_gpus if gpu_code == CPU else self._gpus_differ

    def _look_at_installation(self) -> None:
        installation = self._known.installation
        if installation is self._installation:
            return
        if self._installation != installation:
            self._turns.clear()
            self._machines = None  # other labels may matter now
            self._has_gpus = have_order(installation.gpus, CPU)
            self._gpus_differ = have_order(installation.gpus, "")
        self._installation = installation

    async def prepare(self) -> None:
        """Make sure that `of` goes by the workers that are there, as of a second ago."""
        self._look_at_installation()
        if not self._has_gpus:
            return
        machines = await self._known.machines()
        self._look_at_installation()
        if machines is self._machines:
            return
        kinds = self._kinds_of(machines)
        if kinds.keys() != self._kinds.keys():
            self._turns.clear()
        self._machines, self._kinds = machines, kinds

    def _kinds_of(self, machines: Iterable[Machine]) -> dict[_Kind, Told]:
        names = {name for wanted in self._known.installation.labels.values() for name in wanted}
        kinds: dict[_Kind, Told] = {}
        failed: dict[UUID, set[UUID]] = {}
        for version_id, worker_id in self._known.installation.failed:
            failed.setdefault(worker_id, set()).add(version_id)
        for machine in machines:
            worker, engine = machine.worker, machine.engine
            if worker.gpu_code == CPU or not worker.takes_runs:
                continue
            kind = _Kind(
                worker.gpu_class,
                tuple(sorted(one for one in worker.labels.items() if one[0] in names)),
                None if engine is None else f"{engine.key} {engine.complete}",
                machine.sandbox,
                machine.refused,
                frozenset(failed.get(worker.id, ())),
            )
            kinds[kind] = engine
        return kinds

    def of(self, lane: Lane, row: LaneVersion, version: Requirements) -> Mapping[str, int]:
        """Return the turns of the classes that have a worker which could take this lane's runs: 0 is the first."""
        found = self._turns.get(lane.id.int)
        now = time.monotonic()
        if found is None or found[0] != lane.least_gb or found[1] < now:
            if len(self._turns) > MOST_LANES:
                self._turns.clear()
            able = {kind.gpu for kind, engine in self._kinds.items() if self._is_able(kind, engine, lane, row, version)}
            found = self._turns[lane.id.int] = lane.least_gb, now + BELIEVED_SECONDS, turns_of(able)
        return found[2]

    def _is_able(self, kind: _Kind, engine: Told, lane: Lane, row: LaneVersion, version: Requirements) -> bool:
        installation = self._known.installation
        if not fits(lane.least_gb, kind.gpu.code, kind.gpu.memory_gb) or lane.id in kind.refused:
            return False
        if lacks_labels(installation.labels.get(row.workflow_id), dict(kind.labels)):
            return False
        if serves_operator_only(kind.sandbox, installation.several) and lane.org_id != installation.operator:
            return False
        differences = self._known.differences(row.version_id, version, engine)
        if is_built(differences) and (
            row.version_id in kind.cannot_build or self._known.kept_by_builds(row.version_id, None, engine)
        ):
            return False
        return all(self._may_go(version, one) for one in differences if one.keeps_away)

    def _may_go(self, version: Requirements, difference: Difference) -> bool:
        """Tell whether what kept a worker away was uploaded or approved since."""
        if difference.if_uploaded is not None:
            return self._known.has_uploaded(version.org_id, difference.if_uploaded)
        return bool(difference.if_approved) and all(self._approved.is_approved(*one) for one in difference.if_approved)
