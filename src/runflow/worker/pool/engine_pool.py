"""The engines of a worker: each serves one domain for its whole life, and a run of another domain gets a fresh one.

What is done next is decided in one place, `_arrange`, from what is there: it runs whenever anything has changed.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import structlog

from runflow.worker.engine.base import Engine, EngineStartFailed
from runflow.worker.pool.engine_supervisor import NEXT, STARTING, EngineState, EngineStatus, NoEngine, is_same
from runflow.worker.pool.memory import MOST_ENGINES, Peaks, fit_in_machine, fit_on_gpu, highest
from runflow.worker.pool.pooled_engine import PooledEngine, Seat
from runflow.worker.pool.seat_requests import For, SeatRequest
from runflow.worker.server_api.retry import Backoff
from runflow.worker.settings import Limits

log = structlog.get_logger()

LOOK_AGAIN_SECONDS = 5.0
"""How often a missing engine is looked for: `runflow comfyui install` may be running in another terminal."""

_HEALTHY_SECONDS = 60.0
_START_SECONDS = 1800.0
"""Longer than any start takes: one that is waited for until then will not come, for what is before it does not go."""
RUNTIME_IDLE_SECONDS = 600.0
"""How long an engine of a runtime stays without a run: the worker's own ComfyUI is what is used most."""
_LOOK_SECONDS = 1.0
"""How often it is looked whether an engine without runs may stay beside one that grows."""
_LOOK_WHERE = "The worker has just started and looks for its engine."


class GivenBack(Exception):
    """The run has not been tried here and goes back to its lane; the message says why."""


class EngineChanged(Exception):
    """The engine was started anew since the run was prepared: its files must be placed again."""


class EnginePool:
    """Owns the engines of a worker. `find` returns a new one, not started, or raises `NoEngine`; `find_of` one of a
    runtime that was built.

    `on_change` is told how things stand, whenever that changes. `single_use`: each domain comes only once, so an engine
    is of no use after it. An engine of a runtime without a run ends after `runtime_idle_seconds`.
    """

    def __init__(
        self,
        find: Callable[[], Engine],
        on_change: Callable[[EngineState], None],
        limits: Limits,
        *,
        single_use: bool = False,
        look_again_seconds: float = LOOK_AGAIN_SECONDS,
        backoff: Backoff | None = None,
        find_of: Callable[[str], Engine] | None = None,
        runtime_idle_seconds: float = RUNTIME_IDLE_SECONDS,
    ) -> None:
        self._find = find
        self._find_of = find_of
        self._runtime_idle_seconds = runtime_idle_seconds
        self._on_change = on_change
        self._limits = limits
        self._single_use = single_use
        self._look_again_seconds = look_again_seconds
        self._backoff = backoff or Backoff(first=0.2, longest=60.0)
        self._engines: list[PooledEngine] = []
        self._requests: list[SeatRequest] = []
        self._found: tuple[str, Engine] | None = None
        """Found to be started alone, when the others are gone; with its runtime."""
        self._wake = asyncio.Event()
        self._uses = 0
        self._failure: str | None = None
        self._missing: str | None = None
        self._not_before = 0.0
        self._background: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._model_folders: tuple[Path, ...] = ()
        self.peaks = Peaks()
        self.on_free: Callable[[], None] = lambda: None
        """Called when a run may get its turn now: another left its engine, or an engine is gone."""
        self.congested = False
        """Whether a run had to be given back for want of room; until another leaves, no more are asked for."""
        self.state = EngineState(EngineStatus.ENGINE_DOWN, _LOOK_WHERE)

    @property
    def is_busy(self) -> bool:
        """Whether a run has a place in an engine, or waits for one."""
        return bool(self._requests) or any(one.seats for one in self._engines)

    @property
    def takes_models(self) -> bool:
        """Whether engines are given models, as far as is known."""
        return bool(self._model_folders)

    @property
    def runtimes(self) -> set[str]:
        """The runtimes whose engines are there, or waited for."""
        return {one.runtime for one in self._engines} | {request.runtime for request in self._requests}

    @property
    def lives(self) -> list[int]:
        """The lives of the engines that are there."""
        return [one.life for one in self._engines if one.is_ready]

    async def run(self) -> None:
        """Keep engines until cancelled or stopped."""
        try:
            while not self._stopping:
                self._wake.clear()
                pause = self._arrange()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Stop every engine for good."""
        self._stopping = True
        await asyncio.gather(*(one.end() for one in self._engines))
        self._wake.set()

    async def seat(self, domain: str, version_id: UUID, runtime: str = "") -> Seat:
        """Wait for a place in an engine of this runtime that serves this domain. Whoever has it must call `leave`.

        Raises `GivenBack` where other runs take too long, or no engine comes up soon.
        """
        request = SeatRequest(domain, version_id, runtime)
        self._requests.append(request)
        self._seat_waiting()
        if not request.seat.done() or self._single_use:
            self._wake.set()
        if request.seat.done():
            return request.seat.result()
        try:
            return await request.seat
        except asyncio.CancelledError:
            if request.seat.done() and not request.seat.cancelled() and request.seat.exception() is None:
                self.leave(request.seat.result())
            raise
        finally:
            if request in self._requests:
                self._requests.remove(request)

    def leave(self, seat: Seat) -> None:
        """Nothing of the run is left in its engine."""
        seat.pooled.seats.discard(seat)
        seat.pooled.left_at = asyncio.get_running_loop().time()
        self.congested = False
        if self._requests or self._single_use or len(self._engines) > 1 or seat.pooled.runtime:
            self._wake.set()
        self.on_free()

    async def usable(self, seat: Seat) -> Engine:
        """Return the engine, as soon as it takes prompts. Raises `EngineChanged` or `GivenBack`."""
        if not (seat.pooled.is_ready or seat.pooled.is_going):
            began = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(self._limits.engine):
                    await seat.pooled.until_usable()
            except TimeoutError:
                raise GivenBack(For.REPAIR.value) from None
            finally:
                seat.engine_seconds += asyncio.get_running_loop().time() - began
        if seat.is_lost:  # with no prompt of this run in it
            raise EngineChanged
        return seat.engine

    def may_execute(self, seat: Seat) -> bool:
        """Tell whether no other domain's models are in the way of this run.

        An engine in the way is ended, unless it has a run that came before this one or has had its turn. `on_free` is
        called when it is worth asking again.
        """
        in_the_way = [one for one in self._engines if one is not seat.pooled and self._is_in_the_way(one, seat.pooled)]
        for one in in_the_way:
            if not one.ending and all(other.waits and other.number > seat.number for other in one.seats):
                self._end(one, "Its memory is needed by a run of another domain.")
        return not in_the_way

    def stays(self, life: int | None, version_id: UUID) -> bool:
        """Tell whether an engine keeps what it has loaded while another domain's executes this version, as is foreseen.

        `life` None: one that is not there yet.
        """
        one = next((one for one in self._engines if one.life == life), next(iter(self._engines), None))
        if one is None or one.description is None or not all(each.engine.quick for each in self._engines):
            return False
        memory = one.description.memory_bytes
        if one.description.device_type == "cpu":
            return fit_in_machine(one.engine.memory_bytes(), one.engine.memory_bytes(), memory)
        return fit_on_gpu(self._need(one), self.peaks.of(version_id), memory)

    def begin(self, seat: Seat) -> bool:
        """The run's prompt goes into its engine; tell whether it is the first one of that engine's life."""
        seat.waits = False
        self._uses += 1
        seat.pooled.used_at = self._uses
        first, seat.pooled.prompted = not seat.pooled.prompted, True
        return first

    def executed(self, seat: Seat, peak: int | None) -> None:
        """The run's prompt has ended, and needed so much memory, if that is known. In bytes."""
        seat.pooled.peak = highest((seat.pooled.peak, peak))
        if peak is not None:
            self.peaks.note(seat.version_id, peak)

    # ------------------------------------------------------------------------------------------ what is done next
    def _arrange(self) -> float | None:
        """Seat, end and start what can be, or must. Returns how many seconds to wait for a change, None: for ever."""
        now = asyncio.get_running_loop().time()
        self._bury(now)
        wanted = self._seat_waiting()
        if not wanted and self.state.status is not EngineStatus.READY and all(one.runtime for one in self._engines):
            wanted = [("", "")]  # without an engine of its own ComfyUI this worker gets no run
        self._end_unneeded(wanted)
        idle = self._end_idle_runtimes(now)
        self._start_wanted(wanted, now)
        self._set(self._state())
        pause = min((one for one in (self._expire(now), idle) if one is not None), default=None)
        if len(self._engines) > 1 and any(one.is_idle for one in self._engines):
            return min(_LOOK_SECONDS, _LOOK_SECONDS if pause is None else pause)
        return pause

    def _bury(self, now: float) -> None:
        """Forget engines that are gone, and remember why where nobody wanted that."""
        for one in [one for one in self._engines if one.ended]:
            self._engines.remove(one)
            one.raise_fault()
            if one.runtime and not one.ending:
                self._note_end_of_runtimes(one)
            elif not one.ending:
                if one.prompted or one.lived_seconds > _HEALTHY_SECONDS:
                    self._backoff.reset()  # it started well: what it was given has ended it
                delay = self._backoff.delay()
                what = one.trouble or "The engine was stopped."
                self._not_before = now + delay
                self._failure = f"{what} {NEXT[one.engine.kind]}"
                log.warning("The engine is down.", reason=what, again_in_seconds=round(delay, 2))
            self.on_free()
        for one in self._engines:
            if one.life != one.seen_life:  # whoever waits for a turn in the life before need not wait on
                one.seen_life = one.life
                self.on_free()
        if any(one.is_ready for one in self._engines):
            self._failure = None

    def _note_end_of_runtimes(self, one: PooledEngine) -> None:
        """An engine of a runtime has ended by itself: that says nothing about others, and its next run tries again.

        One that never started tells those who wait for it: what a version asks for does not work here.
        """
        what = one.trouble or "The engine was stopped."
        log.warning("An engine of a runtime is down.", reason=what, runtime=one.runtime)
        if one.description is None:
            self._refuse(one.runtime, EngineStartFailed(what))

    def _refuse(self, runtime: str, why: Exception) -> None:
        """Tell all who wait for an engine of a runtime that there will be none."""
        for request in [request for request in self._requests if request.runtime == runtime]:
            self._requests.remove(request)
            if not request.seat.done():
                request.seat.set_exception(why)
        self._wake.set()  # others may have stood behind them

    def _seat_waiting(self) -> list[tuple[str, str]]:
        """Seat in order whoever can be, note of the others what they wait for, and return who is without an engine.

        Returned are runtime and domain of each.

        Behind one that waits for another's engine to go nobody is seated: that engine must run empty, and stay so.
        """
        new = [one for one in self._engines if one.is_new and not one.is_going]
        new.sort(key=lambda one: not one.is_ready)
        promised: dict[tuple[str, str], PooledEngine] = {}
        wanted: list[tuple[str, str]] = []
        is_blocked = False
        for request in list(self._requests):
            whose = request.runtime, request.domain
            one = self._serving(*whose) or promised.get(whose) or _taken(new, request.runtime)
            if one is None:
                if whose not in wanted:
                    wanted.append(whose)
                room = self._room(request.runtime)
                is_full = len(wanted) > room + self._room_soon(request.runtime)
                self._note_wait(request, For.ROOM if is_blocked or is_full else self._start_or_repair())
                is_blocked |= len(wanted) > room
                continue
            promised[whose] = one
            if is_blocked or self._must_run_empty(one):
                is_blocked = True
                self._note_wait(request, For.ROOM)
            elif one.is_ready and one.engine.alive:
                self._seat(request, one)
            else:
                is_starting = one.description is None and one.planned
                self._note_wait(request, For.START if is_starting else For.REPAIR)
        return wanted

    def _seat(self, request: SeatRequest, one: PooledEngine) -> None:
        self._requests.remove(request)
        if request.seat.done():
            return
        if one.engine.isolates:
            one.domain = request.domain
        self._uses += 1
        one.used_at = self._uses
        request.wait_for(None, asyncio.get_running_loop().time())
        seat = Seat(one, one.life, self._uses, request.version_id, engine_seconds=request.engine_seconds)
        one.seats.add(seat)
        request.seat.set_result(seat)

    def _serving(self, runtime: str, domain: str) -> PooledEngine | None:
        """Return the engine of this runtime that serves this domain, if there is one."""
        serving = (
            one for one in self._engines if one.runtime == runtime and (not one.engine.isolates or one.domain == domain)
        )
        return next((one for one in serving if not one.is_going), None)

    def _room(self, runtime: str) -> int:
        """How many engines of a runtime may be started now."""
        if not self._engines:
            return 1
        return 0 if self._is_alone(runtime) else max(0, MOST_ENGINES - len(self._engines))

    def _room_soon(self, runtime: str) -> int:
        """How many may be started once those are gone that have no run."""
        if self._is_alone(runtime):
            return int(all(one.is_going or one.is_idle for one in self._of(runtime)))
        return sum(one.is_going or one.is_idle or (one.is_new and one.runtime != runtime) for one in self._engines)

    def _is_alone(self, runtime: str) -> bool:
        """Whether the next engine of a runtime cannot be started beside one of it that is there."""
        there = self._of(runtime)
        is_found = self._found is not None and self._found[0] == runtime
        return bool(there) and (is_found or not all(one.engine.quick for one in there))

    def _of(self, runtime: str) -> list[PooledEngine]:
        return [one for one in self._engines if one.runtime == runtime]

    def _must_run_empty(self, one: PooledEngine) -> bool:
        """Whether another domain's run waits for this one's memory."""
        others = (other for other in self._engines if other is not one and other.is_waited_for)
        return any(self._is_in_the_way(one, other) for other in others)

    def _is_in_the_way(self, one: PooledEngine, of: PooledEngine) -> bool:
        """Whether the models that one engine may hold leave no room for those of the other."""
        if not one.prompted or one.ended or one.has_died:
            return False
        description = one.description or of.description
        if description is None:
            return True
        if description.device_type == "cpu":
            return not fit_in_machine(one.engine.memory_bytes(), of.engine.memory_bytes(), description.memory_bytes)
        return not fit_on_gpu(self._need(one), self._need(of), description.memory_bytes)

    def _need(self, one: PooledEngine) -> int | None:
        """Return the most memory that one engine had or will have with the runs that it has now; None: not known."""
        return highest((one.peak, *(self.peaks.of(seat.version_id) for seat in one.seats)))

    def _end_unneeded(self, wanted: list[tuple[str, str]]) -> None:
        """End engines without runs: used up, in the place of one that is wanted, or too large beside another."""
        runtimes = {runtime for runtime, _ in wanted}
        free = max(0, MOST_ENGINES - len(self._engines))
        lacking = len(wanted) - free - sum(one.is_going for one in self._engines)
        alone = {runtime for runtime in runtimes if self._is_alone(runtime)}
        # One that is nobody's yet is of no use to who wants another runtime.
        spare = (one for one in self._engines if one.is_idle or (one.is_new and one.runtime not in runtimes))
        for one in sorted((one for one in spare if not one.is_going), key=lambda one: one.used_at):
            newer = [other for other in self._engines if other.used_at > one.used_at and other.prompted]
            if self._single_use and one.is_idle:
                self._end(one, "Each run gets an engine of its own.")
            elif lacking > 0 or one.runtime in alone:
                lacking -= 1
                self._end(one, "The next run is of another domain.")
            elif any(self._is_in_the_way(one, other) for other in newer):
                self._end(one, "Two engines take too much of the machine's memory.")

    def _end_idle_runtimes(self, now: float) -> float | None:
        """End engines of runtimes that nobody has used for long; return in how many seconds the next one may go."""
        waits = []
        for one in self._engines:
            if one.runtime and (one.is_idle or one.is_new) and not one.is_going:
                left = one.left_at + self._runtime_idle_seconds - now
                if left <= 0:
                    self._end(one, "No run has used this runtime for long.")
                else:
                    waits.append(left)
        return min(waits, default=None)

    def _start_wanted(self, wanted: list[tuple[str, str]], now: float) -> None:
        """Start an engine for each domain that wants one, and one ahead where none is wanted."""
        if now < self._not_before or self._stopping:
            return
        ahead = not self._engines or (self._single_use and not any(one.is_new for one in self._engines))
        for runtime, _ in wanted or ([("", "")] if ahead else []):
            if not self._room(runtime) or not self._start(runtime, now):
                return

    def _start(self, runtime: str, now: float) -> bool:
        found, self._found = self._found, None
        try:
            engine = found[1] if found is not None and found[0] == runtime else self._find_one(runtime)
        except NoEngine as missing:
            if runtime:
                self._refuse(runtime, GivenBack(str(missing)))
                return False
            self._missing, self._not_before = str(missing), now + self._look_again_seconds
            return False
        self._missing = None
        if self._of(runtime) and not engine.quick:
            self._found = runtime, engine
            self._wake.set()  # those that are in its way have to go
            return False
        self._model_folders = engine.model_folders
        self._engines.append(PooledEngine(engine, self._wake.set, planned=self._failure is None, runtime=runtime))
        self._engines[-1].left_at = asyncio.get_running_loop().time()
        return True

    def _find_one(self, runtime: str) -> Engine:
        if not runtime:
            return self._find()
        if self._find_of is None:
            raise NoEngine("No runtimes are used here.")
        return self._find_of(runtime)

    def _end(self, one: PooledEngine, why: str) -> None:
        log.info("Ending an engine.", reason=why)
        one.ending = True
        task = asyncio.create_task(one.end())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # ---------------------------------------------------------------------------------------- who waits for how long
    def _start_or_repair(self) -> For:
        is_planned = not any(one.is_going and not one.ending for one in self._engines)
        return For.START if is_planned and self._failure is None and self._missing is None else For.REPAIR

    def _note_wait(self, request: SeatRequest, what: For) -> None:
        if request.waits_for is not what:
            now = asyncio.get_running_loop().time()
            request.wait_for(what, now)
            limits = {For.ROOM: self._limits.hold, For.START: _START_SECONDS, For.REPAIR: self._limits.engine}
            request.until = now + limits[what]

    def _expire(self, now: float) -> float | None:
        """Give back what has waited too long. Returns after how many seconds to look again; None: after a change."""
        for request in [one for one in self._requests if one.until is not None and one.until <= now]:
            self._requests.remove(request)
            self.congested |= request.waits_for is For.ROOM
            if not request.seat.done() and request.waits_for is not None:
                request.seat.set_exception(GivenBack(request.waits_for.value.format(self._limits.hold)))
        times = [one.until for one in self._requests if one.until is not None]
        if self._not_before > now:
            times.append(self._not_before)
        return min(times) - now if times else None

    # ------------------------------------------------------------------------------------------- how things stand
    def _state(self) -> EngineState:
        # What this worker can do is told by its own ComfyUI, whichever runtimes execute beside it.
        ready = next((one for one in self._engines if one.is_ready and not one.runtime), None)
        if ready is not None:
            return EngineState(EngineStatus.READY, description=ready.description)
        if self.state.status is EngineStatus.READY and any(one.is_ready for one in self._engines):
            return self.state
        own = (one for one in self._engines if not one.runtime)
        silent = next((one.trouble for one in own if one.trouble is not None and not one.ending), None)
        if silent is not None:
            return EngineState(EngineStatus.ENGINE_DOWN, silent)
        if self._engines:
            for_runtime = bool(self.runtimes - {""})
            is_quick = self._failure is None and (for_runtime or all(one.engine.quick for one in self._engines))
            is_soon = is_quick and self.state.status is EngineStatus.READY
            return self.state if is_soon else EngineState(EngineStatus.ENGINE_DOWN, STARTING)
        if self._missing is not None:
            return EngineState(EngineStatus.NO_ENGINE, self._missing)
        return self.state if self._failure is None else EngineState(EngineStatus.ENGINE_DOWN, self._failure)

    def _set(self, state: EngineState) -> None:
        if not is_same(state, self.state):
            self.state = state
            self._on_change(state)


def _taken(new: list[PooledEngine], runtime: str) -> PooledEngine | None:
    """Take the first engine of this runtime out of those that are nobody's yet."""
    found = next((one for one in new if one.runtime == runtime), None)
    if found is not None:
        new.remove(found)
    return found
