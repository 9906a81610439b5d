"""What a server process knows of versions and workers: read once where it never changes, else each second."""

import asyncio
import time
from dataclasses import dataclass, field
from uuid import UUID

from runflow.db.sized_memory import SizedMemory
from runflow.protocol.abilities import Sandbox
from runflow.protocol.runtimes import Builds
from runflow.web.services import Services
from runflow.workers import ability_queries
from runflow.workers import queries as worker_queries
from runflow.workers.abilities import Told, ability_memory, read_sandbox
from runflow.workers.queries import ConnectedWorker, GpuClass
from runflow.workflows.runtime import queries
from runflow.workflows.runtime.queries import FoundSource
from runflow.workflows.runtime.requirements import Requirements, RequirementsMemory
from runflow.workflows.runtime.satisfies import Difference, failed_for_good, lacks_found_sources, satisfies

TOPIC = "eligibility"
"""Hints on it tell that labels of a workflow, or the organizations, have changed."""
REMEMBER_SECONDS = 1.0
READING_SHARE = 0.1
"""Reading the workers again takes no more of the time than this, however many there are and however long it takes."""
MOST_REMEMBERED_SECONDS = 10.0
MAX_JUDGED_BYTES = 32 * 1024 * 1024
"""Most bytes of what was found out about versions and engines that a process remembers."""
MOST_UPLOADS = 50_000
MOST_LANES = 10_000
ANY_GPU = "auto"
"""The `gpu_mode` that names no classes."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What holds for all runs: who the operator is, whether there are others, and which workflows ask for labels.

    `gpus`: the classes of the workers that take runs, also of those without a GPU.
    """

    operator: UUID | None = None
    several: bool = False
    labels: dict[UUID, dict[str, str]] = field(default_factory=dict)
    gpus: frozenset[GpuClass] = frozenset()
    found: dict[UUID, tuple[FoundSource, ...]] = field(default_factory=dict)
    """By version, the packages that a build has found to be needed and that the operator has not approved."""
    failed: dict[tuple[UUID, UUID], str] = field(default_factory=dict)
    """By version and worker, why a build failed that would fail again."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A connected worker with what its engine can run. `refused`: the lanes that are kept from it."""

    worker: ConnectedWorker
    engine: Told
    sandbox: Sandbox | None
    refused: frozenset[UUID] = frozenset()


class Known:
    """The one memory of a process; `services.part(Known)` gives it."""

    def __init__(self, services: Services) -> None:
        """Ask this process's database, and hear of changes through its hub."""
        self._services = services
        self.abilities = services.part(ability_memory)
        self.requirements = RequirementsMemory()
        self.installation = Installation()
        """As it was read last; `read_installation` reads it again where that is too long ago."""
        self.read_at = float("-inf")
        self._hints = 0
        self._reading_installation = asyncio.Lock()
        self._reading_machines = asyncio.Lock()
        self._judged: SizedMemory[tuple[UUID, str], tuple[Difference, ...]] = SizedMemory(MAX_JUDGED_BYTES)
        self._uploads: dict[str, tuple[frozenset[UUID], float]] = {}
        self._least_gb: dict[tuple[UUID, UUID, str], tuple[int, float]] = {}
        self._machines: list[Machine] = []
        self._machines_at = float("-inf")
        self._machines_last = 0.0
        services.hub.on(TOPIC, self._forget)

    def _forget(self, _subject: str) -> None:
        self._hints += 1
        self.read_at = float("-inf")

    async def read_installation(self) -> Installation:
        """Return what holds for all runs, not older than a second."""
        asked_at = time.monotonic()
        if self._is_old(asked_at):
            async with self._reading_installation:
                # A thousand workers ask at once, and one of them reads.
                if self._is_old(asked_at):
                    await self._read_installation()
        return self.installation

    def _is_old(self, asked_at: float) -> bool:
        is_enough = asked_at - REMEMBER_SECONDS if self._services.hub.connected else asked_at
        return self.read_at < is_enough

    async def _read_installation(self) -> None:
        hints, began = self._hints, time.monotonic()
        async with self._services.db.system(durable=False) as transaction:
            found = await queries.installation(transaction)
            labels = await queries.labels(transaction)
            sources = await queries.found_sources(transaction)
            failed = await queries.failed_builds(transaction)
            gpus = await worker_queries.working_classes(transaction, worker_queries.CONNECTED_SECONDS)
        broken = {(one.version_id, one.worker_id): one.message for one in failed}
        of_versions: dict[UUID, tuple[FoundSource, ...]] = {}
        for one in sources:
            of_versions[one.version_id] = (*of_versions.get(one.version_id, ()), one)
        named = {one.workflow_id: one.worker_labels for one in labels}
        self.installation = Installation(found.operator, found.several, named, frozenset(gpus), of_versions, broken)
        # A change that was heard of meanwhile may have been missed.
        self.read_at = began if hints == self._hints else float("-inf")

    async def version(self, version_id: UUID) -> Requirements:
        """Return what a version needs that is known to be there."""
        held = self.requirements.held(version_id)
        if held is not None:
            return held
        async with self._services.db.system(durable=False) as transaction:
            return (await self.requirements.read(transaction, [version_id]))[version_id]

    def differences(self, version_id: UUID, version: Requirements, engine: Told) -> tuple[Difference, ...]:
        """Return what `satisfies` finds where nothing is uploaded: of a version and an engine it is found out once."""
        if engine is None or not engine.complete:
            return tuple(satisfies(version, engine))
        key = (version_id, engine.key)
        found = self._judged.get(key)
        if found is None:
            found = tuple(satisfies(version, engine))
            self._judged.put(key, found, 500 + sum(200 + len(one.what) + len(one.next_step) for one in found))
        return found

    def kept_by_builds(self, version_id: UUID, worker_id: UUID | None, engine: Told) -> list[Difference]:
        """Return what builds of a version found to need approval, or why one failed on a worker and would again.

        Of a version that the worker's own ComfyUI has everything for it says nothing of use.
        """
        why = None if worker_id is None else self.installation.failed.get((version_id, worker_id))
        if why is not None:
            return [failed_for_good(why)]
        if engine is None or engine.builds is not Builds.APPROVED:
            return []
        return lacks_found_sources(
            [(one.name, one.origin, one.commit) for one in self.installation.found.get(version_id, ())]
        )

    async def machines(self, *, now: bool = False) -> list[Machine]:
        """Return the workers that are connected, as of a second ago at most, or some where reading them takes long.

        With `now`: as they are.
        """
        asked_at = time.monotonic()
        enough = asked_at if now else asked_at - max(REMEMBER_SECONDS, self._machines_last)
        if self._machines_at < enough:
            async with self._reading_machines:
                if self._machines_at < enough:
                    await self._read_machines()
        return self._machines

    async def _read_machines(self) -> None:
        began = time.monotonic()
        async with self._services.db.system(durable=False) as transaction:
            workers = await worker_queries.connected(transaction, worker_queries.CONNECTED_SECONDS)
            told = await self.abilities.read(transaction, [worker.abilities for worker in workers])
            refused: dict[UUID, set[UUID]] = {}
            for row in await ability_queries.refused(transaction, [worker.id for worker in workers]):
                refused.setdefault(row.worker_id, set()).add(row.lane_id)
        self._machines = [
            Machine(worker, engine, read_sandbox(worker.sandbox), frozenset(refused.get(worker.id, ())))
            for worker, engine in zip(workers, told, strict=True)
        ]
        self._machines_at = began
        self._machines_last = min((time.monotonic() - began) / READING_SHARE, MOST_REMEMBERED_SECONDS)

    async def least_gb(
        self, version: Requirements, *, org_id: UUID, version_id: UUID, gpu_class: str, now: bool = False
    ) -> int:
        """Return how many GiB a GPU must have for an organization's runs of a version, as of a second ago or `now`.

        What its lane has learned, or before the first run what its models are expected to need. Where GPU classes are
        named, only memory that ran out there counts.
        """
        key, at = (org_id, version_id, gpu_class), time.monotonic()
        found, until = self._least_gb.get(key, (0, 0.0))
        if not now and at < until:
            return found
        async with self._services.db.system(durable=False) as transaction:
            row = await queries.lane_memory(transaction, org=org_id, version=version_id, gpu_class=gpu_class)
        expected = version.models_gb if gpu_class == ANY_GPU and (row is None or not row.are_models_known) else 0
        if len(self._least_gb) > MOST_LANES:
            self._least_gb.clear()
        found = max(expected, 0 if row is None else row.least_gb)
        self._least_gb[key] = found, at + REMEMBER_SECONDS
        return found

    async def look_for_uploads(self, hashes: set[str], *, now: bool = False) -> None:
        """Make sure that `has_uploaded` can tell of these contents, not older than a second; with `now` as it is."""
        at = time.monotonic()
        asked = [one for one in hashes if now or one not in self._uploads or self._uploads[one][1] < at]
        if not asked:
            return
        if len(self._uploads) > MOST_UPLOADS:
            self._uploads = {one: self._uploads[one] for one in hashes if one in self._uploads}
        async with self._services.db.system(durable=False) as transaction:
            rows = await queries.uploads(transaction, asked)
        found: dict[str, set[UUID]] = {one: set() for one in asked}
        for row in rows:
            found[row.sha256].add(row.org_id)
        for one, organizations in found.items():
            self._uploads[one] = frozenset(organizations), at + REMEMBER_SECONDS

    def has_uploaded(self, org_id: UUID | None, sha256: str) -> bool:
        """Tell whether an organization has uploaded a model, as it was looked for last."""
        return org_id in self._uploads.get(sha256, (frozenset(), 0.0))[0]
