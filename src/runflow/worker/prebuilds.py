"""What a worker prepares while it has no run: the runtime and the models of versions that were asked for beforehand.

One at a time, beside the runs that come meanwhile: a run whose own runtime has to be built goes first, and the
pre-build is given back (`WorkerRuntimes.prepare`).
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from runflow.protocol.failures import Failure, FailureCode, Stage
from runflow.protocol.prebuilds import PrebuildOrder, PrebuildReport, PrebuildResult
from runflow.protocol.runtimes import BuildOrder, BuildReport
from runflow.worker.attempts.failures import RunFailed
from runflow.worker.attempts.lease import models_of
from runflow.worker.runtimes import BuildFailed, GaveWay, WorkerRuntimes
from runflow.worker.server_api.connection import Connection, ServerRefused, ServerUnavailable, Unregistered
from runflow.worker.server_api.retry import Backoff, until_answered
from runflow.worker.store.models import ModelFetcher

log = structlog.get_logger()

_WAIT_SECONDS = 25.0
_LEAVING_SECONDS = 5.0
"""How long a server is told that a pre-build is given back, before the worker leaves without a word."""
_NOT_FOUND = 404
RUNTIME, MODELS = "runtime", "models"
"""The steps of a pre-build, as they are told."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A version of which the runtime is wanted."""

    version_id: UUID
    build: BuildOrder | None
    fingerprint: str
    manifest: Mapping[str, Any]
    prompt: dict[str, dict[str, Any]]
    tracebacks: bool = True


@dataclass(slots=True)
class _Progress:
    """How far a pre-build is. `ended` tells how it went."""

    step: str | None = None
    message: str | None = None
    built: BuildReport | None = None

    def tell(self, message: str) -> None:
        self.message = message


class Prebuilds:
    """Asks for pre-builds and carries them out. `may_ask`: whether the worker is ready and has no run.

    `runtimes` None: it builds none. `takes_models`: whether its engines are given models. `patience`, in seconds: how
    long a server that is away is waited for.
    """

    def __init__(
        self,
        connection: Connection,
        runtimes: WorkerRuntimes | None,
        models: ModelFetcher,
        *,
        may_ask: Callable[[], bool],
        takes_models: Callable[[], bool],
        free: asyncio.Event,
        patience: float,
    ) -> None:
        """`free` is set when `may_ask` may have become true."""
        self._connection = connection
        self._runtimes = runtimes
        self._models = models
        self._may_ask = may_ask
        self._takes_models = takes_models
        self._free = free
        self._patience = patience

    async def run(self) -> None:
        """Prepare what is asked for until it is cancelled; then what it has is given back.

        It ends where the server is of a release that knows no pre-builds.
        """
        backoff = Backoff(first=1.0, longest=30.0)
        while True:
            while not self._may_ask():
                self._free.clear()
                await self._free.wait()
            try:
                order = await self._connection.prebuild(wait_seconds=_WAIT_SECONDS)
            except Unregistered:
                await asyncio.sleep(backoff.delay())  # the poll for runs registers anew
            except ServerRefused as refusal:
                if refusal.status == _NOT_FOUND:
                    return
                log.warning("The server gives nothing to prepare.", reason=str(refusal))
                await asyncio.sleep(backoff.delay())
            except ServerUnavailable:
                await asyncio.sleep(backoff.delay())
            else:
                backoff.reset()
                if order is not None:
                    await self._carry(order)

    async def _carry(self, order: PrebuildOrder) -> None:
        progress = _Progress()
        working = asyncio.create_task(self._prepare(order, progress), name=f"prebuild {order.version.id}")
        renewing = asyncio.create_task(self._renew(order, progress), name="prebuild lease")
        try:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                return  # the lease is lost: another worker has it
            result, error = working.result()
            renewing.cancel()
            await self._end(order.id, progress, result, error)
        except asyncio.CancelledError:
            await _stopped(working, renewing)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LEAVING_SECONDS):
                    await self._end(order.id, progress, "released", None)
            raise
        finally:
            await _stopped(working, renewing)

    async def _prepare(self, order: PrebuildOrder, progress: _Progress) -> tuple[PrebuildResult, Failure | None]:
        version = order.version
        log.info("Preparing a version.", version_id=str(version.id))
        try:
            progress.step = RUNTIME
            if version.build is not None:
                if self._runtimes is None:
                    return "released", None
                wanted = _Wanted(version.id, version.build, version.fingerprint, version.manifest, version.prompt)
                progress.built = (await self._runtimes.prepare(wanted, progress.tell)).report
            progress.step = MODELS
            if (order.models or order.cached) and self._takes_models():
                progress.tell("Fetching its models.")
                models = await self._models.fetch(
                    self._connection,
                    models_of(order.models),
                    cached=order.cached,
                    patience=self._patience,
                    tell=progress.tell,
                    can_wait=True,
                )
                await models.release()
        except GaveWay:
            log.info("A pre-build gives way to a run.", version_id=str(version.id))
            return "released", None
        except BuildFailed as failed:
            progress.built, progress.step = failed.report, failed.report.step
            return "failed", failed.failure
        except RunFailed as failed:
            return "failed", failed.failure
        except Exception:
            log.exception("A pre-build met a fault of the worker.", version_id=str(version.id))
            message = "The worker met an error of its own. The operator finds it in the worker's log."
            return "failed", Failure(FailureCode.INTERNAL, Stage.PREPARE, message, retryable=True)
        progress.step = progress.message = None
        return "ready", None

    async def _renew(self, order: PrebuildOrder, progress: _Progress) -> None:
        """Say how far it is, until the server wants to hear no more of it."""
        while True:
            await asyncio.sleep(order.report_seconds)
            report = self._report("building", step=progress.step, message=progress.message)
            try:
                await until_answered(
                    lambda report=report: self._connection.report_prebuild(order.id, report),  # type: ignore[misc]
                    what="pre-build",
                    seconds=self._patience,
                )
            except (ServerRefused, ServerUnavailable) as trouble:
                log.warning("A pre-build is no longer ours.", reason=str(trouble))
                return

    async def _end(self, lease: UUID, progress: _Progress, result: PrebuildResult, error: Failure | None) -> None:
        report = self._report(
            result,
            step=progress.step if result == "failed" else None,
            message=error.message if error is not None else None,
            built=progress.built,
            error=error,
        )
        try:
            await until_answered(
                lambda: self._connection.report_prebuild(lease, report), what="pre-build", seconds=self._patience
            )
            log.info("A pre-build has ended.", result=result, reason=None if error is None else error.message)
        except (ServerRefused, ServerUnavailable) as trouble:
            log.warning("The end of a pre-build is not taken.", reason=str(trouble))

    def _report(self, result: PrebuildResult, **told: Any) -> PrebuildReport:
        return PrebuildReport(**self._connection.caller, result=result, **told)


async def _stopped(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
