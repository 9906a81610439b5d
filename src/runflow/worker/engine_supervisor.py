"""Keeps an engine running: finds it, starts it, starts it again when it died, and says how things stand."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import structlog

from runflow.worker.engine.base import Engine, EngineDescription, EngineError, EngineKind
from runflow.worker.retry import Backoff

log = structlog.get_logger()

LOOK_AGAIN_SECONDS = 5.0
"""How often a missing engine is looked for: `runflow comfyui install` may be running in another terminal."""

STARTING = "The engine is starting."
"""The detail of a state that nobody has to do anything about."""

_HEALTHY_SECONDS = 60.0
_PROBE_SECONDS = 2.0


class EngineStatus(StrEnum):
    """The `status` of a registration."""

    READY = "ready"
    NO_ENGINE = "no_engine"
    ENGINE_DOWN = "engine_down"


@dataclass(frozen=True, slots=True)
class EngineState:
    """How things stand. `detail` is a sentence for people with the next step, None when ready."""

    status: EngineStatus
    detail: str | None = None
    description: EngineDescription | None = None


NEXT = {
    EngineKind.OWNED: "The engine is started again.",
    EngineKind.ATTACHED: "Start that ComfyUI, or correct its address; the worker looks again and again.",
}
"""What happens after an engine is down, by its kind: only who started it can start it again."""


class NoEngine(Exception):
    """There is no engine on this machine; the message says how to get one."""


class EngineSupervisor:
    """Owns the one engine of a worker. `find` returns the engine to use, not started, or raises `NoEngine`.

    `life` counts the starts: what was given to the engine in one life (input files, prompts) is gone in the next.
    """

    def __init__(
        self,
        find: Callable[[], Engine],
        on_change: Callable[[EngineState], None],
        *,
        look_again_seconds: float = LOOK_AGAIN_SECONDS,
        backoff: Backoff | None = None,
    ) -> None:
        self._find = find
        self._on_change = on_change
        self._look_again_seconds = look_again_seconds
        self._backoff = backoff or Backoff(first=0.2, longest=60.0)
        self._engine: Engine | None = None
        self._ready = asyncio.Event()
        self._doubted = asyncio.Event()
        self._stopping = False
        self.life = 0
        self.state = EngineState(EngineStatus.ENGINE_DOWN, "The worker has just started and looks for its engine.")

    async def ready(self) -> Engine:
        """Wait until the engine can take prompts, and return it."""
        while self._engine is None or not self._ready.is_set():
            await self._ready.wait()
        return self._engine

    def doubt(self) -> None:
        """The engine did not answer somebody: find out whether it is still there before more work is taken."""
        self._doubted.set()

    async def restart(self, reason: str) -> None:
        """End the engine's life, for a prompt that cannot be stopped otherwise; a new one begins by itself."""
        engine = self._engine
        if engine is not None:
            log.warning("Restarting the engine.", reason=reason)
            self._ready.clear()
            await engine.stop()

    async def run(self) -> None:
        """Keep an engine until cancelled or stopped."""
        while not self._stopping:
            try:
                engine = self._find()
            except NoEngine as missing:
                self._set(EngineState(EngineStatus.NO_ENGINE, str(missing)))
                await asyncio.sleep(self._look_again_seconds)
                continue
            await self._one_life(engine)

    async def stop(self) -> None:
        """Stop the engine for good."""
        self._stopping = True
        self._ready.clear()
        if self._engine is not None:
            with contextlib.suppress(EngineError):
                await self._engine.stop()

    async def _one_life(self, engine: Engine) -> None:
        self._set(EngineState(EngineStatus.ENGINE_DOWN, STARTING))
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._engine = engine
        try:
            description = await engine.start()
            self.life += 1
            log.info("The engine is ready.", seconds=round(loop.time() - began, 2), version=description.version)
            self._set(EngineState(EngineStatus.READY, description=description))
            reason: str | None = await self._until_dead(engine)
        except EngineError as error:
            reason = str(error)
        # Also after a crash: what it holds (its base folder's lock) is in the way of the next one.
        self._ready.clear()
        with contextlib.suppress(EngineError):
            await engine.stop()
        if self._stopping:
            return
        if loop.time() - began > _HEALTHY_SECONDS:
            self._backoff.reset()
        delay = self._backoff.delay()
        what = reason or "The engine was stopped."
        log.warning("The engine is down.", reason=what, again_in_seconds=round(delay, 2))
        self._set(EngineState(EngineStatus.ENGINE_DOWN, f"{what} {NEXT[engine.kind]}"))
        await asyncio.sleep(delay)

    async def _until_dead(self, engine: Engine) -> str | None:
        """Wait for the end of the engine; on the way find out about doubts. Returns the reason."""
        death = asyncio.create_task(engine.wait_dead())
        try:
            while True:
                self._doubted.clear()
                doubt = asyncio.create_task(self._doubted.wait())
                try:
                    await asyncio.wait({death, doubt}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    doubt.cancel()
                if death.done():
                    reason = death.result()
                    return str(reason) if reason is not None else None
                await self._probe(engine, death)
        finally:
            death.cancel()

    async def _probe(self, engine: Engine, death: "asyncio.Task[EngineError | None]") -> None:
        """Ask the engine until it answers or is known to be dead; while it does not answer it gets no work."""
        while not death.done():
            try:
                description = await engine.describe()
            except EngineError as error:
                self._set(EngineState(EngineStatus.ENGINE_DOWN, str(error)))
                await asyncio.wait({death}, timeout=_PROBE_SECONDS)
            else:
                if self.state.status is not EngineStatus.READY:
                    self.life += 1
                    self._set(EngineState(EngineStatus.READY, description=description))
                return

    def _set(self, state: EngineState) -> None:
        if state.status is EngineStatus.READY:
            self._ready.set()
        else:
            self._ready.clear()
        if state != self.state:
            self.state = state
            self._on_change(state)
