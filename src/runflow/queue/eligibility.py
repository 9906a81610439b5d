"""Which lanes a worker may serve at all: only those whose version it can run. Which of them comes first says `choose`.

Versions never change, nor do abilities under their key, so a verdict about the two holds for good; it is kept in memory
by lane. What changes (labels of workflows, uploaded models, organizations) is read again each second.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from runflow.db.transaction import Transaction
from runflow.protocol.abilities import Sandbox
from runflow.protocol.workers import CPU
from runflow.queue import eligibility_queries
from runflow.queue.eligibility_queries import LaneVersion
from runflow.queue.gpu_order import fits, in_turn
from runflow.queue.gpu_turns import GpuTurns
from runflow.queue.lineup import ANY_GPU, Lane, Lineup, serves
from runflow.sources.known import ApprovedSources
from runflow.web.services import Services
from runflow.workers.abilities import EngineAbilities, read_sandbox
from runflow.workers.queries import RegisteredWorker
from runflow.workflows.runtime import service as runtime
from runflow.workflows.runtime.known import Installation, Known, Machine
from runflow.workflows.runtime.requirements import Requirements
from runflow.workflows.runtime.satisfies import is_built, lacks_labels, serves_operator_only

STALE_SECONDS = 10.0
"""How long it is good enough to take a run from its lane without a look, while hints arrive."""
MOST_LANES = 50_000
MOST_ENGINES = 10_000
MOST_VERDICTS = 1_000_000
"""Of all engines together, at some hundred bytes each; those of the engine that asked longest ago leave first."""
AT_ONCE = 200
"""Versions that one look at the lanes derives the requirements of, until it has found something to do."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A worker that asks for work, as far as it matters which lanes it may serve. `abilities` None: it told none."""

    gpu_code: str
    labels: dict[str, str] = field(default_factory=dict)
    abilities: EngineAbilities | None = None
    sandbox: Sandbox | None = None
    memory_gb: int = 0
    """Of its GPU in GiB; 0: none, or not known."""
    worker_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Whether an engine can run a version: unless `never`, once these models are uploaded, these sources approved."""

    never: bool = False
    org_id: UUID | None = None
    uploads: frozenset[str] = frozenset()
    approvals: frozenset[tuple[str, str]] = frozenset()
    built_for: UUID | None = None
    """The version of which the worker builds a runtime; what builds of it have found is looked at each time."""


_ALWAYS = _Verdict()
_NEVER = _Verdict(never=True)


class Eligibility:
    """What a server process remembers of lanes, versions and workers."""

    def __init__(self, services: Services) -> None:
        """Ask this process's database, and hear of changes through its hub."""
        self._services = services
        self._known = services.part(Known)
        self._approved = services.part(ApprovedSources)
        self._gpus = GpuTurns(self._known, self._approved)
        self._lanes: dict[int, LaneVersion] = {}
        self._verdicts: OrderedDict[str, dict[int, _Verdict]] = OrderedDict()
        self._able_of: list[Machine] | None = None
        self._could: dict[tuple[UUID, UUID, str], dict[UUID, frozenset[UUID]]] = {}
        """Who could take runs, each with the lanes that are kept from it; of the machines as they were read last."""

    @property
    def installation(self) -> Installation:
        """What holds for all runs, as it was read last."""
        return self._known.installation

    async def candidate(self, transaction: Transaction, worker_id: UUID, worker: RegisteredWorker) -> Candidate:
        """Return a worker as it registered last."""
        (abilities,) = await self._known.abilities.read(transaction, [worker.abilities])
        memory_gb = 0 if worker.gpu_code == CPU else worker.memory_gb
        return Candidate(worker.gpu_code, worker.labels, abilities, read_sandbox(worker.sandbox), memory_gb, worker_id)

    def may_take(self, lane: UUID, gpu_class: str, worker: Candidate, remembered: Lane | None = None) -> bool:
        """Tell of a lane that has just got its first run whether the worker may serve it, so far as memory tells.

        `remembered`: the lane as it was known last.
        """
        installation = self._known.installation
        is_fresh = self._services.hub.connected and time.monotonic() - self._known.read_at < STALE_SECONDS
        if not is_fresh or not self._is_first(gpu_class, worker, remembered):
            return False
        if serves_operator_only(worker.sandbox, installation.several):
            return False
        if worker.abilities is None and not installation.labels:
            return True
        if worker.abilities is not None and not worker.abilities.complete:
            return False
        verdict = self._verdicts_of(worker).get(lane.int)
        return verdict is _ALWAYS and self._has_labels(lane.int, worker)

    async def prepare(self) -> None:
        """Make sure that `verdict` goes by what holds now."""
        await self._known.read_installation()
        await self._gpus.prepare()

    def _is_first(self, gpu_class: str, worker: Candidate, lane: Lane | None) -> bool:
        """Tell of a lane in which nothing has waited yet whether the worker's class has its turn, and the memory."""
        if gpu_class == ANY_GPU and self._gpus.matter(worker.gpu_code):
            return False  # it takes a look at who else is there
        if lane is None and gpu_class == ANY_GPU and worker.memory_gb > 0:
            return False
        return in_turn(gpu_class, worker.gpu_code, 0) and (lane is None or _fits(lane, worker))

    def _turns(self, lane: Lane, worker: Candidate) -> Mapping[str, int] | None:
        """Return the turns of the classes that could take a lane's runs, empty where they do not matter to the worker.

        None where nothing is known yet of the lane's version.
        """
        if lane.gpu_class != ANY_GPU or not self._gpus.matter(worker.gpu_code):
            return {}
        row = self._lanes.get(lane.id.int)
        version = None if row is None else self._known.requirements.held(row.version_id)
        return None if row is None or version is None else self._gpus.of(lane, row, version)

    def verdict(self, lane: Lane, worker: Candidate, now: float) -> bool | None:
        """Tell whether the worker may serve a lane, None where that must be looked up; see `among`."""
        able = self._is_able(lane, worker)
        if able is False:
            return False
        turns = self._turns(lane, worker)
        if turns is None:
            return None
        return able if _has_turn(lane, worker, now, turns) else False

    def _is_able(self, lane: Lane, worker: Candidate) -> bool | None:
        """The same whoever's turn it is."""
        installation = self._known.installation
        if serves_operator_only(worker.sandbox, installation.several) and lane.org_id != installation.operator:
            return False
        if worker.abilities is None and not installation.labels:
            return True
        if worker.abilities is not None and not worker.abilities.complete:
            return False
        verdict = self._verdicts_of(worker).get(lane.id.int)
        if verdict is None or not (verdict.never or verdict is _ALWAYS):
            return None
        return not verdict.never and self._has_labels(lane.id.int, worker)

    def never(self, lane: Lane, worker: Candidate) -> bool:
        """Tell that the worker may not serve a lane, as long as it and the installation are what they are."""
        installation = self._known.installation
        if not serves(lane.gpu_class, worker.gpu_code) or not _fits(lane, worker):
            return True
        if serves_operator_only(worker.sandbox, installation.several) and lane.org_id != installation.operator:
            return True
        if worker.abilities is not None and not worker.abilities.complete:
            return True
        verdict = self._verdicts_of(worker).get(lane.id.int)
        return verdict is not None and verdict.never

    async def among(self, lanes: Sequence[Lane], worker: Candidate, now: float) -> list[Lane]:
        """Return those of these lanes that the worker may serve. `now` is by the clock of the lanes' times."""
        installation = await self._known.read_installation()
        await self._gpus.prepare()
        await self._look_for_approvals(lanes, worker)
        found = [lane for lane in lanes if _has_turn(lane, worker, now, self._turns(lane, worker) or {})]
        if serves_operator_only(worker.sandbox, installation.several):
            found = [lane for lane in found if lane.org_id == installation.operator]
        if worker.abilities is not None and not worker.abilities.complete:
            return []
        if found and (worker.abilities is not None or installation.labels):
            found = await self._able(found, worker)
        return await self._in_turn(found, worker, now)

    async def _look_for_approvals(self, lanes: Sequence[Lane], worker: Candidate) -> None:
        """Make sure that turns go by approvals as they are: a class whose workers would build only then has one."""
        if self._gpus.matter(worker.gpu_code):
            rows = [row for lane in lanes if (row := self._lanes.get(lane.id.int)) is not None]
            versions = [self._known.requirements.held(row.version_id) for row in rows]
            await self._approved.look_for({one.key for version in versions if version for one in version.sources})

    async def _in_turn(self, lanes: list[Lane], worker: Candidate, now: float) -> list[Lane]:
        """Return those of these lanes in which the worker's class has its turn."""
        unknown = [lane for lane in lanes if self._turns(lane, worker) is None][:AT_ONCE]
        known: dict[int, LaneVersion] = {}
        needs: dict[UUID, Requirements] = {}
        if unknown:
            self._bound_lanes(worker)
            async with self._services.db.system(durable=False) as transaction:
                known = await self._versions_of(transaction, unknown)
                needs = await self._known.requirements.read(transaction, {row.version_id for row in known.values()})
            await self._approved.look_for({one.key for version in needs.values() for one in version.sources})
        found = []
        for lane in lanes:
            row = known.get(lane.id.int)
            version = None if row is None else needs.get(row.version_id)
            turns = self._turns(lane, worker) if row is None or version is None else self._gpus.of(lane, row, version)
            if turns is not None and _has_turn(lane, worker, now, turns):
                found.append(lane)
        return found

    @staticmethod
    def _key_of(worker: Candidate) -> str:
        return worker.abilities.key if worker.abilities is not None else ""

    def _verdicts_of(self, worker: Candidate) -> dict[int, _Verdict]:
        key = self._key_of(worker)
        found = self._verdicts.setdefault(key, {})
        self._verdicts.move_to_end(key)
        return found

    def _make_room(self) -> None:
        """Forget what was found out about engines that have not asked for long."""
        total = sum(map(len, self._verdicts.values()))
        while len(self._verdicts) > 1 and total > MOST_VERDICTS:
            _, gone = self._verdicts.popitem(last=False)
            total -= len(gone)
        while len(self._verdicts) > MOST_ENGINES:
            self._verdicts.popitem(last=False)

    async def _able(self, lanes: list[Lane], worker: Candidate) -> list[Lane]:
        verdicts = self._verdicts_of(worker)
        unknown = [lane for lane in lanes if lane.id.int not in verdicts]
        # The longest waiting first: what is found out later, a later look will use.
        unknown.sort(key=lambda lane: lane.oldest_at)
        able = await self._judged(lanes, verdicts, worker)
        for first in range(0, len(unknown), AT_ONCE):
            batch = unknown[first : first + AT_ONCE]
            await self._learn(batch, worker, verdicts)
            able += await self._judged(batch, verdicts, worker)
            if able:
                break
        return able

    async def _judged(self, lanes: Sequence[Lane], verdicts: dict[int, _Verdict], worker: Candidate) -> list[Lane]:
        able: list[Lane] = []
        pending: list[tuple[Lane, _Verdict]] = []
        for lane in lanes:
            verdict = verdicts.get(lane.id.int, _NEVER)
            if verdict is _ALWAYS:
                able.append(lane)
            elif not verdict.never:
                pending.append((lane, verdict))
        if pending:
            await self._known.look_for_uploads({one for _, verdict in pending for one in verdict.uploads})
            await self._approved.look_for({one for _, verdict in pending for one in verdict.approvals})
            able += [lane for lane, verdict in pending if await self._may_have(lane, verdict, worker)]
        if self._known.installation.labels:
            able = [lane for lane in able if self._has_labels(lane.id.int, worker)]
        return able

    async def _may_have(self, lane: Lane, verdict: _Verdict, worker: Candidate) -> bool:
        if not self._is_met(verdict):
            return False
        version_id = verdict.built_for
        if version_id is None:
            return True
        if self._known.kept_by_builds(version_id, None, worker.abilities):
            return False
        # A run that nobody can have built ends with what is wrong: its caller does not wait for what never comes.
        has_failed = (version_id, worker.worker_id) in self._known.installation.failed
        return not has_failed or not await self._could_another(lane, version_id, worker)

    async def _could_another(self, lane: Lane, version_id: UUID, worker: Candidate) -> bool:
        """Tell whether a worker other than this one could take a lane's runs, as far as is known."""
        row = self._lanes.get(lane.id.int)
        if row is None:  # it is looked at again
            return True
        machines = await self._known.machines()
        if machines is not self._able_of:
            self._able_of, self._could = machines, {}
        key = lane.org_id, version_id, lane.gpu_class
        if key not in self._could:
            fits = await runtime.fits_of(
                self._services,
                org_id=lane.org_id,
                workflow_id=row.workflow_id,
                version_id=version_id,
                gpu_class=lane.gpu_class,
            )
            able = [one.machine for one in fits if one.is_able and one.machine.worker.takes_runs]
            self._could[key] = {one.worker.id: one.refused for one in able}
        return any(one != worker.worker_id and lane.id not in refused for one, refused in self._could[key].items())

    def _is_met(self, verdict: _Verdict) -> bool:
        return all(self._known.has_uploaded(verdict.org_id, one) for one in verdict.uploads) and all(
            self._approved.is_approved(*one) for one in verdict.approvals
        )

    def _has_labels(self, lane: int, worker: Candidate) -> bool:
        labels = self._known.installation.labels
        if not labels:
            return True
        known = self._lanes.get(lane)
        wanted = None if known is None else labels.get(known.workflow_id)
        return known is not None and (wanted is None or not lacks_labels(wanted, worker.labels))

    def _bound_lanes(self, worker: Candidate) -> None:
        if len(self._lanes) > MOST_LANES:
            verdicts = self._verdicts_of(worker)
            self._lanes.clear()
            self._verdicts = OrderedDict({self._key_of(worker): verdicts})
            verdicts.clear()

    async def _versions_of(self, transaction: Transaction, lanes: Sequence[Lane]) -> dict[int, LaneVersion]:
        """Return what is known of these lanes; those that are not remembered are read."""
        fresh = [lane.id for lane in lanes if lane.id.int not in self._lanes]
        for row in await eligibility_queries.lane_versions(transaction, fresh) if fresh else ():
            self._lanes[row.lane_id.int] = row
        return {lane.id.int: self._lanes[lane.id.int] for lane in lanes if lane.id.int in self._lanes}

    async def _learn(self, lanes: Sequence[Lane], worker: Candidate, verdicts: dict[int, _Verdict]) -> None:
        """Find out about lanes of which nothing is known."""
        self._bound_lanes(worker)
        if len(verdicts) > MOST_LANES:
            verdicts.clear()
        self._make_room()
        async with self._services.db.system(durable=False) as transaction:
            known = await self._versions_of(transaction, lanes)
            if worker.abilities is None:
                verdicts.update(dict.fromkeys(known, _ALWAYS))
                return
            versions = {row.version_id for row in known.values()}
            needs = await self._known.requirements.read(transaction, versions)
        by_version: dict[UUID, _Verdict] = {}
        for one, version in needs.items():
            told = self._known.differences(one, version, worker.abilities)
            differences = [found for found in told if found.keeps_away]
            uploads = frozenset(found.if_uploaded for found in differences if found.if_uploaded is not None)
            approvals = frozenset(key for found in differences for key in found.if_approved)
            if any(found.if_uploaded is None and not found.if_approved for found in differences):
                by_version[one] = _NEVER
            elif uploads or approvals or is_built(told):
                built_for = one if is_built(told) else None
                by_version[one] = _Verdict(False, version.org_id, uploads, approvals, built_for)
            else:
                by_version[one] = _ALWAYS
        verdicts.update(
            (lane, by_version[row.version_id]) for lane, row in known.items() if row.version_id in by_version
        )


def _fits(lane: Lane, worker: Candidate) -> bool:
    return fits(lane.least_gb, worker.gpu_code, worker.memory_gb)


def _has_turn(lane: Lane, worker: Candidate, now: float, turns: Mapping[str, int]) -> bool:
    return _fits(lane, worker) and in_turn(lane.gpu_class, worker.gpu_code, now - lane.oldest_at, turns)


class EligibleLanes:
    """The lanes that one worker may serve, as it is registered at the moment of each question.

    `told_several`: whether the worker was told that there is more than one organization. Where that is no longer so,
    it gets runs of the operator's organization alone until it has registered again: its engines' network hangs on it.
    """

    def __init__(
        self, eligibility: Eligibility, worker: Callable[[], Candidate], *, told_several: bool | None = None
    ) -> None:
        """Ask `eligibility` for what `worker` returns."""
        self._eligibility = eligibility
        self._worker = worker
        self._told_several = told_several
        self._none: tuple[Candidate, Installation, int] | None = None

    def has_none_of(self, lineup: Lineup) -> bool:
        """Tell whether nothing is there for the worker: there was nothing, and what came since is nothing for it.

        So who waits beside thousands of lanes that are not for it does not look at each whenever a run comes.
        """
        if self._none is None:
            return False
        worker, installation, serial = self._none
        fresh = lineup.since(serial)
        is_so = worker is self._worker() and installation == self._eligibility.installation
        if not is_so or fresh is None or not all(self._never(lane, worker) for lane in fresh):
            self._none = None
            return False
        self._none = worker, installation, lineup.serial
        return True

    def found_none_of(self, lineup: Lineup) -> None:
        """Note, after a look in which the worker might serve no lane, whether that stays so."""
        worker = self._worker()
        if all(self._never(lane, worker) for lane in lineup):
            self._none = worker, self._eligibility.installation, lineup.serial

    def _never(self, lane: Lane, worker: Candidate) -> bool:
        if self._is_outdated() and lane.org_id != self._eligibility.installation.operator:
            return True
        return self._eligibility.never(lane, worker)

    def _is_outdated(self) -> bool:
        return self._told_several is not None and self._told_several != self._eligibility.installation.several

    def may_take(self, lane: UUID, gpu_class: str, remembered: Lane | None = None) -> bool:
        """Tell of a lane that has just got its first run whether the worker may serve it, so far as memory tells.

        `remembered`: the lane as it was known last.
        """
        return not self._is_outdated() and self._eligibility.may_take(lane, gpu_class, self._worker(), remembered)

    async def prepare(self) -> None:
        """Make sure that `verdict` goes by what holds now."""
        await self._eligibility.prepare()

    def verdict(self, lane: Lane, now: float) -> bool | None:
        """Tell whether the worker may serve a lane; None where that must be looked up."""
        if self._is_outdated() and lane.org_id != self._eligibility.installation.operator:
            return False
        return self._eligibility.verdict(lane, self._worker(), now)

    async def among(self, lanes: Sequence[Lane], now: float) -> list[Lane]:
        """Return those of these lanes that the worker may serve."""
        found = await self._eligibility.among(lanes, self._worker(), now)
        if not self._is_outdated():
            return found
        return [lane for lane in found if lane.org_id == self._eligibility.installation.operator]
