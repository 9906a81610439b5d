"""Why a run still waits, in one sentence with the next step (docs/api/runs.md, "Why a run waits")."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from runflow.queue import lane_queries
from runflow.queue.choose import lane_id
from runflow.queue.gpu_order import STEP_SECONDS, next_turn, order_of, turns_of
from runflow.queue.lane_queries import FullCaps
from runflow.queue.lineup import ANY_GPU
from runflow.web.services import Services
from runflow.workers import ability_queries
from runflow.workers.queries import ConnectedWorker
from runflow.workflows.runtime import service as runtime
from runflow.workflows.runtime.known import REMEMBER_SECONDS, Known
from runflow.workflows.runtime.satisfies import Difference, DifferenceCode
from runflow.workflows.runtime.service import Fit

_MOST_LANES = 10_000


class WaitingRun(Protocol):
    """What a reason is found from."""

    @property
    def org_id(self) -> UUID:
        """Whose run it is."""

    @property
    def comfyui_workflow_id(self) -> UUID:
        """What it is of."""

    @property
    def version_id(self) -> UUID:
        """What it is pinned to."""

    @property
    def gpu_class(self) -> str:
        """`auto`, or codes in order of preference."""

    @property
    def created_at(self) -> datetime:
        """Since when it waits."""


_OWNERS_TO_KNOW = "No connected worker has what this workflow needs. Ask its owner, who is told what is missing."
_OPERATORS_TO_KNOW = "No worker that can run it takes runs at the moment. Ask the operator, who sees why."


class WaitingReasons:
    """Looks at the connected workers, at most once a second."""

    def __init__(self, services: Services) -> None:
        """Ask this process's database."""
        self._services = services
        self._kept: dict[UUID, tuple[_Kept, float]] = {}

    async def waiting_reason(self, run: WaitingRun) -> str:
        """Return why a queued run is not running yet."""
        fits = await runtime.fits_of(
            self._services,
            org_id=run.org_id,
            workflow_id=run.comfyui_workflow_id,
            version_id=run.version_id,
            gpu_class=run.gpu_class,
        )
        kept = await self._kept_back(run) if fits else _Kept()
        if kept.refused:
            fits = [_with_refusal(fit, kept.refused.get(fit.machine.worker.id)) for fit in fits]
        waited = (datetime.now(UTC) - run.created_at).total_seconds()
        version = await self._services.part(Known).version(run.version_id) if fits else None
        return reason(
            fits, run.gpu_class, waited, is_own=version is None or version.org_id == run.org_id, full=kept.full
        )

    async def _kept_back(self, run: WaitingRun) -> "_Kept":
        """Return what keeps the run's lane from workers."""
        lane = lane_id(run.org_id, run.version_id, run.gpu_class)
        found, until = self._kept.get(lane, (_Kept(), 0.0))
        if time.monotonic() < until:
            return found
        most = self._services.settings.max_running
        async with self._services.db.system(durable=False) as transaction:
            rows = await ability_queries.refusals(transaction, [lane])
            full = await lane_queries.full(transaction, lane=lane, most_running=most)
        if len(self._kept) > _MOST_LANES:
            self._kept.clear()
        found = _Kept({row.worker_id: row.message for row in rows}, _told_of_caps(full))
        self._kept[lane] = found, time.monotonic() + REMEMBER_SECONDS
        return found


@dataclass(frozen=True, slots=True)
class _Kept:
    """What keeps a lane from workers: what each lacked, by its id, or a cap for all of them."""

    refused: dict[UUID, str] = field(default_factory=dict)
    full: str | None = None


def _told_of_caps(caps: FullCaps) -> str | None:
    for noun, most in (("workflow", caps.of_workflow), ("organization", caps.of_organization)):
        if most is not None:
            runs, them = ("run", "it") if most == 1 else ("runs", "them")
            return f"Its {noun} may have {most} {runs} at a time, and has {them}."
    return None


def _with_refusal(fit: Fit, message: str | None) -> Fit:
    if message is None:
        return fit
    told = Difference(
        DifferenceCode.RUN_REFUSED,
        f"could not run it: {message.rstrip('.')}",
        "When it has what is missing, it is asked again; restart the worker if it does not notice.",
    )
    return replace(fit, differences=(*fit.differences, told))


def reason(
    fits: Sequence[Fit],
    gpu_class: str,
    waited_seconds: float = 0.0,
    *,
    is_own: bool = True,
    full: str | None = None,
) -> str:
    """Decide the sentence from the connected workers and what they lack.

    Without `is_own` the workflow is another organization's public one: what it is made of is its owner's to know, and
    which workers there are the operator's. `full`: what to say of a cap that lets no further run be worked on.
    """
    if not fits:
        return "No worker is connected. Start one with `runflow worker --server URL --token-file FILE`."
    able = [fit for fit in fits if gpu_class == ANY_GPU or fit.machine.worker.gpu_code in gpu_class.split(",")]
    if not able:
        if not is_own:
            return f"No connected worker has the GPU class {gpu_class} that this workflow asks for. Ask its owner."
        there = ", ".join(sorted({fit.machine.worker.gpu_code for fit in fits}))
        return (
            f"No connected worker has the GPU class {gpu_class} (connected: {there}). "
            "Start one, or set the workflow's `gpu_mode` to `auto`."
        )
    capable = [fit.machine.worker for fit in able if fit.is_able]
    if not capable:
        if not is_own:
            return _OWNERS_TO_KNOW
        told = runtime.told_of(able)
        return f"No connected worker can run it: {told[0]}. {told[1]}" if told else "Waiting for a free worker."
    if not is_own and not any(worker.takes_runs for worker in capable):
        return _OPERATORS_TO_KNOW
    return _of_capable(capable, gpu_class, waited_seconds, full)


def _of_capable(
    capable: Sequence[ConnectedWorker], gpu_class: str, waited_seconds: float, full: str | None = None
) -> str:
    ready = [worker for worker in capable if worker.status_code == "ready"]
    if not ready:
        worker = capable[0]
        detail = worker.status_detail or "It has no engine that works."
        return f"The worker {worker.name} cannot run anything yet: {detail}"
    working = [worker for worker in ready if not worker.draining]
    if not working:
        return (
            f"The worker {ready[0].name} is draining: it takes no new runs. Start another one, or let it work again "
            f"with `runflow workers undrain {ready[0].name}`."
        )
    if all(worker.paused for worker in working):
        return (
            f"The worker {working[0].name} asks for work but does not answer what it is offered, so it gets none for "
            "a minute. Look at its log, and at the proxy between it and the server."
        )
    if full is not None:
        return full
    order = order_of(gpu_class, turns_of(worker.gpu_class for worker in working if worker.takes_runs))
    now, following = next_turn(order, waited_seconds)
    if following and (gpu_class == ANY_GPU or not any(worker.gpu_code in now for worker in working)):
        seconds = STEP_SECONDS * (1 + waited_seconds // STEP_SECONDS)
        return (
            f"Waiting for a worker of the GPU class {' or '.join(now)}; after {seconds:.0f} "
            f"seconds of waiting, {' or '.join(following)} may take it as well."
        )
    return "Waiting for a free worker."
