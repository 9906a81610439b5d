"""How a run is prepared: first its files come here, while engines serve others, then they go into its engine."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from runflow.protocol.failures import FailureCode, Stage
from runflow.worker.attempts.failures import RunFailed, engine_failure, failed, timeout_failure
from runflow.worker.attempts.lease import Lease
from runflow.worker.attempts.prepare import Fetched, Fetching, fetch, place
from runflow.worker.attempts.waits import Waits
from runflow.worker.engine.base import Engine, EngineError
from runflow.worker.runtimes import Ready, WorkerRuntimes
from runflow.worker.store.fetch.progress import Tell

SLOW_SECONDS = 2.0
"""From then on a run whose files are still on the way keeps no place that another one could use."""


class Preparation:
    """Prepares one run, in two steps that each may take as long as the run. Both raise `RunFailed`.

    `staging` is a folder of this run on the worker, `folder` its name in the engine's folders. `waits` takes note of
    how long models are waited for. `on_slow` is called when its files take long to come, and when they are here after
    that.
    """

    def __init__(
        self,
        lease: Lease,
        fetching: Fetching,
        *,
        staging: Path,
        folder: str,
        waits: Waits,
        on_slow: Callable[[], None],
    ) -> None:
        self.is_slow = False
        """Whether its files take long to come."""
        self.milliseconds = 0
        """How long it has taken, without the wait for an engine."""
        self._lease = lease
        self._fetching = fetching
        self._staging = staging
        self._folder = folder
        self._waits = waits
        self._on_slow = on_slow
        self._fetched: Fetched | None = None

    async def build(self, runtimes: WorkerRuntimes | None, tell: Tell) -> Ready:
        """Wait for the run's runtime.

        How long that may take is not the run's own time limit: another's run may have it built.
        """
        if self._lease.build is None:
            return Ready("")
        if runtimes is None:
            message = "This worker builds no runtimes (RUNFLOW_RUNTIME_BUILDS is off). Dispatch the run again."
            raise failed(FailureCode.RUNTIME_BUILD_FAILED, Stage.PREPARE, message, retryable=True)
        async with self._perhaps_slow():
            return await runtimes.ready(self._lease, tell)

    async def fetch(self, *, takes_models: bool, tell: Tell) -> Fetched:
        """Bring the run's files here (`prepare.fetch`)."""
        async with self._perhaps_slow(), self._in_time():
            self._fetched = await fetch(
                self._lease,
                self._fetching,
                staging=self._staging,
                takes_models=takes_models,
                tell=tell,
                waits=self._waits,
            )
            return self._fetched

    async def place(self, fetched: Fetched, engine: Engine) -> dict[str, dict[str, Any]]:
        """Give the engine the run's files, and return the prompt that uses them (`prepare.place`). Raises OSError."""
        try:
            async with self._in_time():
                return await place(
                    self._lease,
                    fetched,
                    self._fetching,
                    output_folder=self._folder,
                    place_input=lambda path, name: engine.place_input(self._folder, name, path),
                    models_folder=next(iter(engine.model_folders), None),
                    lay_home=engine.lay_home,
                    waits=self._waits,
                )
        except EngineError as error:
            raise RunFailed(engine_failure(error, Stage.PREPARE)) from error

    async def release(self) -> None:
        """Need the run's models no more."""
        if self._fetched is not None:
            await self._fetched.models.release()

    def _note_slow(self, is_slow: bool) -> None:
        self.is_slow = is_slow
        self._on_slow()

    @contextlib.asynccontextmanager
    async def _perhaps_slow(self) -> AsyncIterator[None]:
        """Note where what is waited for takes long."""
        slow = asyncio.get_running_loop().call_later(SLOW_SECONDS, self._note_slow, True)
        try:
            yield
        finally:
            slow.cancel()
            if self.is_slow:
                self._note_slow(False)

    @contextlib.asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._lease.timeout_seconds):
                yield
        except TimeoutError:
            raise RunFailed(timeout_failure(self._lease.timeout_seconds, Stage.PREPARE)) from None
        finally:
            self.milliseconds += round((time.perf_counter() - began) * 1000)
