"""The turns that runs take on the worker's one engine: submitted in order, limited in time, stopped exactly."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import structlog

from runflow.protocol.events import NodeState
from runflow.worker.concurrency import Limiter, Prefetch
from runflow.worker.engine.base import Ability, Engine, EngineCrashed, EngineError, EngineKind
from runflow.worker.engine.execution import EngineEvent, EventKind, Execution
from runflow.worker.engine_supervisor import EngineSupervisor
from runflow.worker.lease import Lease
from runflow.worker.report import Report
from runflow.worker.settings import Limits

log = structlog.get_logger()

WARM_VERSIONS = 8
"""How many versions that ran lately are named to the server as warm."""

_END_SECONDS = 5.0


class GivenBack(Exception):
    """The run has not been tried here and goes back to its lane; the message says why."""


class EngineChanged(Exception):
    """The engine was started anew since the run was prepared: its files must be placed again."""


class Turn:
    """One prompt inside the engine."""

    def __init__(
        self, lease: Lease, report: Report, life: int, on_start: Callable[[], None], on_time_up: Callable[[], None]
    ) -> None:
        self.lease = lease
        self.life = life
        self.started = False
        self._report = report
        self._on_start = on_start
        self._on_time_up = on_time_up
        self._limit: asyncio.TimerHandle | None = None
        self._hold: asyncio.TimerHandle | None = None

    def wait_behind(self, seconds: float, give_back: Callable[[], None]) -> None:
        """Another prompt executes; when that takes too long, `give_back` is called."""
        self._hold = asyncio.get_running_loop().call_later(seconds, give_back)

    def begin(self) -> None:
        """It executes, or nothing is before it any more: the time limit counts."""
        if self._hold is not None:
            self._hold.cancel()
        if self._limit is None:
            self._limit = asyncio.get_running_loop().call_later(self.lease.timeout_seconds, self._on_time_up)

    def is_cold(self) -> None:
        """It is the first prompt of an engine that we started."""
        self._report.cold_start = True

    def end(self) -> None:
        """It is over."""
        for timer in (self._hold, self._limit):
            if timer is not None:
                timer.cancel()

    def take(self, event: EngineEvent) -> None:
        """Pass on what the engine tells."""
        if not self.started:
            self.started = True
            self._on_start()
            self._report.running(event.at)
            self.begin()
        if event.node_id is None:
            return
        if event.kind is EventKind.NODE_STARTED:
            self._report.node_started(event.node_id, event.at)
        elif event.kind is EventKind.NODE_FINISHED:
            self._report.node_finished(event.node_id, event.at, event.state or NodeState.SUCCEEDED)
        elif event.kind is EventKind.PREVIEW and event.preview is not None:
            self._report.show(event.node_id, event.preview)
        elif event.kind is EventKind.PROGRESS and event.value is not None and event.maximum is not None:
            self._report.progress(event.node_id, event.value, event.maximum, event.at)


class Executor:
    """Lets prompts into the engine, as many at once as `prefetch` says."""

    def __init__(self, supervisor: EngineSupervisor, prefetch: Prefetch, limits: Limits) -> None:
        self._supervisor = supervisor
        self._prefetch = prefetch
        self._limits = limits
        self._limiter = Limiter(lambda: prefetch.in_engine)
        self._turns: dict[str, Turn] = {}
        self._noted = ""
        self._warm: list[str] = []
        self._warm_life = 0
        self._blamed_life = 0
        self._prompted_life = 0
        self.congested = False
        """Whether a run had to be given back behind one that takes long; until that ends no more are asked for."""

    @property
    def is_short(self) -> bool:
        """Whether executions are short, as far as is known."""
        return self._prefetch.is_short

    @property
    def warm(self) -> list[str]:
        """Fingerprints of the versions that the engine ran lately, newest last."""
        return list(self._warm) if self._warm_life == self._supervisor.life else []

    @property
    def output_types(self) -> frozenset[str]:
        """The engine's classes of output nodes; empty while there is no engine."""
        description = self._supervisor.state.description
        return frozenset() if description is None else description.output_types

    async def engine(self) -> tuple[Engine, int]:
        """Return the engine and its life. Raises `GivenBack` when there is none soon."""
        try:
            async with asyncio.timeout(self._limits.engine):
                engine = await self._supervisor.ready()
        except TimeoutError:
            raise GivenBack("The engine is down.") from None
        return engine, self._supervisor.life

    async def execute(
        self,
        lease: Lease,
        prompt: dict[str, dict[str, Any]],
        report: Report,
        *,
        life: int,
        on_time_up: Callable[[], None],
        give_back: Callable[[], None],
    ) -> Execution:
        """Wait for a turn and run the prompt to its end. When cancelled, it is off the engine when this returns.

        Raises `GivenBack`, `EngineChanged` and EngineError. `on_time_up` and `give_back` are to cancel the caller.
        """
        await self._wait_for_turn()
        engine: Engine | None = None

        def note_run() -> None:
            if engine is not None:
                self._noted = lease.id
                engine.note_run(lease.run_id)

        turn = Turn(lease, report, life, note_run, on_time_up)
        try:
            engine, life_now = await self.engine()
            if life_now != life:
                raise EngineChanged
            self._turns[lease.id] = turn
            if len(self._turns) > 1:
                turn.wait_behind(self._limits.hold, give_back)
            else:
                note_run()  # it says something of a prompt before it executes it, too
                turn.begin()
            return await self._run(engine, prompt, turn)
        finally:
            self._end(turn)
            if engine is not None and self._noted == lease.id:
                engine.note_run(None)

    async def _wait_for_turn(self) -> None:
        if self._limiter.has_room:
            await self._limiter.enter()
            return
        try:
            async with asyncio.timeout(self._limits.hold):
                await self._limiter.enter()
        except TimeoutError:
            self.congested = True
            raise GivenBack(f"The engine is busy with another run for more than {self._limits.hold:g} s.") from None

    async def _run(self, engine: Engine, prompt: dict[str, dict[str, Any]], turn: Turn) -> Execution:
        self._note_prompt(engine, turn)
        executing = asyncio.create_task(engine.execute(prompt, turn.lease.id, turn.take))
        try:
            execution = await asyncio.shield(executing)
        except asyncio.CancelledError:
            await self._stop_prompt(engine, executing, turn.lease.id)
            raise
        except EngineError as error:
            self._supervisor.doubt()
            if isinstance(error, EngineCrashed):
                if self._is_innocent(turn):
                    raise GivenBack("The engine crashed while it executed another run.") from error
                self._blamed_life = turn.life
            raise
        if not execution.rejected:
            self._prefetch.executed(execution.execute_ms / 1000)
            self._note_warm(turn.lease.fingerprint)
        return execution

    async def _stop_prompt(self, engine: Engine, executing: "asyncio.Task[Execution]", prompt_id: str) -> None:
        """Take exactly this prompt off the engine; where it does not obey, end the engine if it is ours."""
        try:
            gone = await engine.cancel(prompt_id, timeout=self._limits.stop)
        except EngineError:
            gone = False
        if not gone and Ability.KILL in engine.abilities:
            await self._supervisor.restart("A node did not stop when it was interrupted.")
        elif not gone:
            log.warning("A prompt does not stop; the engine is not ours to end.", prompt_id=prompt_id)
        await asyncio.wait({executing}, timeout=_END_SECONDS if gone else 0)
        executing.cancel()
        with contextlib.suppress(asyncio.CancelledError, EngineError):
            await executing

    def _is_innocent(self, turn: Turn) -> bool:
        """Whether another prompt was executing when the engine died: one at a time does, so this one had not begun."""
        if turn.started:
            return False
        others = (other for other in self._turns.values() if other is not turn)
        return self._blamed_life == turn.life or any(other.started for other in others)

    def _end(self, turn: Turn) -> None:
        turn.end()
        self._turns.pop(turn.lease.id, None)
        self.congested = False
        self._limiter.leave()
        following = next(iter(self._turns.values()), None)
        if following is not None:
            following.begin()

    def _note_prompt(self, engine: Engine, turn: Turn) -> None:
        if engine.kind is EngineKind.OWNED and self._prompted_life != turn.life:
            turn.is_cold()
        self._prompted_life = turn.life

    def _note_warm(self, fingerprint: str) -> None:
        if self._warm_life != self._supervisor.life:
            self._warm, self._warm_life = [], self._supervisor.life
        if fingerprint in self._warm:
            self._warm.remove(fingerprint)
        self._warm = [*self._warm, fingerprint][-WARM_VERSIONS:]
