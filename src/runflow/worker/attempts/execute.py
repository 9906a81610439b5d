"""The turns that runs take on the worker's engines: one after the other, limited in time, stopped exactly."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import structlog

from runflow.protocol.events import NodeState
from runflow.protocol.failures import FailureCode
from runflow.protocol.leases import Warm
from runflow.worker.attempts.lease import Lease
from runflow.worker.attempts.report import Report
from runflow.worker.concurrency import Limiter, Prefetch
from runflow.worker.engine.base import Ability, Engine, EngineCrashed, EngineError, EngineKind
from runflow.worker.engine.execution import EngineEvent, EventKind, Execution
from runflow.worker.pool.engine_pool import EnginePool, GivenBack
from runflow.worker.pool.pooled_engine import Seat
from runflow.worker.pool.warmth import Warmth
from runflow.worker.settings import Isolation, Limits
from runflow.worker.store.models import RunModels
from runflow.worker.store.views import ModelViews

log = structlog.get_logger()

_END_SECONDS = 5.0
_GONE_SECONDS = 30.0
"""How long the end of an engine may keep a cancelled run: its process is killed at once, what it wrote may be much."""


class Turn:
    """One prompt inside the engine."""

    def __init__(
        self, lease: Lease, report: Report, seat: Seat, on_start: Callable[[], None], on_time_up: Callable[[], None]
    ) -> None:
        self.lease = lease
        self.seat = seat
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

    def loads(self, loads: bool) -> None:
        """Whether its engine has other models loaded, or none."""
        self._report.loaded = loads

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
    """Lets prompts into engines, as many at once as `prefetch` says, and never those of two engines."""

    def __init__(self, pool: EnginePool, prefetch: Prefetch, limits: Limits, isolation: Isolation) -> None:
        self._pool = pool
        self._prefetch = prefetch
        self._limits = limits
        self._isolation = isolation
        self._limiter = Limiter(lambda: prefetch.in_engine)
        pool.on_free = self._limiter.recheck
        self._turns: dict[str, Turn] = {}
        self._noted = ""
        self._views = ModelViews()
        self.warmth = Warmth(isolation)
        self._congested = False

    @property
    def congested(self) -> bool:
        """Whether a run had to be given back behind one that takes long; until that ends no more are asked for."""
        # Where nobody has a place any more there is nothing to end, and so nobody who would take this back.
        return (self._congested or self._pool.congested) and self._pool.is_busy

    @property
    def is_short(self) -> bool:
        """Whether executions are short, as far as is known."""
        return self._prefetch.is_short

    @property
    def warm_engines(self) -> list[Warm]:
        """What the engines will have loaded when the runs that are held have executed, the next one first."""
        return self.warmth.told(self._pool.lives, self._pool.stays)

    @property
    def takes_models(self) -> bool:
        """Whether engines here are given models."""
        return self._pool.takes_models

    async def seat(self, lease: Lease, models: RunModels, runtime: str = "") -> Seat:
        """Return a place in an engine of the run's domain, which has no other model under the path of one of its.

        `runtime` is of whose engines one is wanted, empty: of the worker's own ComfyUI's.

        Whoever has it must call `leave`. Raises `GivenBack` when there is none soon.
        """
        domain = self._isolation.domain_of(lease.id, lease.domain)
        if models.given and not lease.tracebacks:
            # Another organization's models are not left where the caller's own runs could load them.
            domain = f"{domain} {lease.version_id}"
        elif self.takes_models:
            domain = self._views.domain_of(domain, models.names, models.there, lease.prompt, lease.values)
        return await self._pool.seat(domain, lease.version_id, runtime)

    def leave(self, seat: Seat) -> None:
        """Nothing of the run is left in its engine: another domain's may follow."""
        self._pool.leave(seat)

    async def execute(
        self,
        lease: Lease,
        prompt: dict[str, dict[str, Any]],
        report: Report,
        *,
        seat: Seat,
        on_time_up: Callable[[], None],
        give_back: Callable[[], None],
    ) -> Execution:
        """Wait for a turn and run the prompt to its end. When cancelled, it is off the engine when this returns.

        Raises `GivenBack`, `EngineChanged` and EngineError. `on_time_up` and `give_back` are to cancel the caller.
        """
        await self._wait_for_turn(seat)
        engine: Engine | None = None

        def note_run() -> None:
            if engine is not None:
                self._noted = lease.id
                engine.note_run(lease.run_id)

        turn = Turn(lease, report, seat, note_run, on_time_up)
        try:
            engine = await self._pool.usable(seat)
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

    async def _wait_for_turn(self, seat: Seat) -> None:
        if self._limiter.try_enter(seat.pooled, lambda: self._pool.may_execute(seat)):
            return
        try:
            async with asyncio.timeout(self._limits.hold):
                await self._limiter.enter(seat.pooled, lambda: seat.is_lost or self._pool.may_execute(seat))
        except TimeoutError:
            self._congested = True
            raise GivenBack(f"The engine is busy with another run for more than {self._limits.hold:g} s.") from None

    async def _run(self, engine: Engine, prompt: dict[str, dict[str, Any]], turn: Turn) -> Execution:
        is_first = self._pool.begin(turn.seat)
        if is_first and engine.kind is EngineKind.OWNED:
            turn.is_cold()
        turn.loads(self.warmth.begins(turn.lease, turn.seat.life, isolates=engine.isolates))
        peak: int | None = None
        executing = asyncio.create_task(engine.execute(prompt, turn.lease.id, turn.take))
        try:
            execution = await asyncio.shield(executing)
            peak = execution.peak_memory_bytes
        except asyncio.CancelledError:
            await self._stop_prompt(turn, executing)
            raise
        except EngineError as error:
            turn.seat.pooled.doubt()
            if isinstance(error, EngineCrashed):
                if self._is_innocent(turn):
                    raise GivenBack("The engine crashed while it executed another run.") from error
                turn.seat.pooled.blamed = turn.seat.life
            raise
        except Exception:
            await self._stop_prompt(turn, executing)  # our own fault: it may execute on, beside the next one
            raise
        finally:
            self._pool.executed(turn.seat, peak)
        if execution.error is not None and execution.error.code is FailureCode.OUT_OF_MEMORY:
            await self._free(turn)
        if not execution.rejected:
            self._prefetch.executed(execution.execute_ms / 1000)
            self.warmth.executed(turn.seat.life, execution.execute_ms / 1000)
        return execution

    async def _free(self, turn: Turn) -> None:
        """Give back what the engine holds before its next prompt: memory has run out in it.

        One of ours is ended, which leaves nothing behind; but not where another prompt is in it already.
        """
        turn.end()  # its result is known, whatever this takes
        pooled, life = turn.seat.pooled, turn.seat.life
        is_shared = any(other is not turn and other.seat.life == life for other in self._turns.values())
        if Ability.KILL in turn.seat.engine.abilities and not is_shared:
            log.warning("Ending the engine: a node ran out of memory.", prompt_id=turn.lease.id)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GONE_SECONDS):
                    await pooled.end()
            return
        try:
            await turn.seat.engine.free()
        except EngineError as error:
            log.warning("The engine does not give up its models.", reason=str(error), prompt_id=turn.lease.id)

    async def _stop_prompt(self, turn: Turn, executing: "asyncio.Task[Execution]") -> None:
        """Take exactly this prompt off the engine; where it does not obey, end the engine if it is ours."""
        try:
            await self._take_off(turn, executing)
        finally:
            executing.cancel()
        await asyncio.wait({executing})

    async def _take_off(self, turn: Turn, executing: "asyncio.Task[Execution]") -> None:
        engine, prompt_id = turn.seat.engine, turn.lease.id
        try:
            gone = await engine.cancel(prompt_id, timeout=self._limits.stop)
        except EngineError:
            gone = False
        except Exception:
            log.exception("It is not known whether a prompt is off its engine.", prompt_id=prompt_id)
            gone = False
        if not gone and Ability.KILL in engine.abilities:
            log.warning("Ending the engine: a node did not stop when it was interrupted.", prompt_id=prompt_id)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GONE_SECONDS):
                    await turn.seat.pooled.end()
        elif not gone:
            log.warning("A prompt does not stop; the engine is not ours to end.", prompt_id=prompt_id)
        await asyncio.wait({executing}, timeout=_END_SECONDS if gone else 0)

    def _is_innocent(self, turn: Turn) -> bool:
        """Whether another prompt was executing when the engine died: one at a time does, so this one had not begun."""
        if turn.started:
            return False
        others = (other for other in self._turns.values() if other is not turn and other.seat.life == turn.seat.life)
        return turn.seat.pooled.blamed == turn.seat.life or any(other.started for other in others)

    def _end(self, turn: Turn) -> None:
        turn.end()
        self._turns.pop(turn.lease.id, None)
        self._congested = False
        self._limiter.leave(turn.seat.pooled)
        following = next(iter(self._turns.values()), None)
        if following is not None:
            following.begin()
