"""Watches over one engine from its start to its end, and says how things stand."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import structlog

from runflow.worker.engine.base import Engine, EngineDescription, EngineError, EngineKind

log = structlog.get_logger()

STARTING = "The engine is starting."
"""The detail of a state that nobody has to do anything about."""

_PROBE_SECONDS = 2.0
_LIVES = itertools.count(1)


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


def is_same(one: EngineState, other: EngineState) -> bool:
    """Tell whether two states say the same to others: a fresh engine at another address is no news."""
    return replace(one, description=None) == replace(other, description=None) and _known(one) == _known(other)


def _known(state: EngineState) -> EngineDescription | None:
    return None if state.description is None else replace(state.description, url="")


class EngineSupervisor:
    """Watches over one engine, not started yet, until it is gone for good; `on_change` is called at each turn of it.

    `life` is a number that no other engine of this worker has. It is another one after the engine did not answer for a
    while: what was given to it before (input files, prompts) may be gone.
    """

    def __init__(self, engine: Engine, on_change: Callable[[], None]) -> None:
        self.engine = engine
        self.life = next(_LIVES)
        self.description: EngineDescription | None = None
        """What it is; None until it has started."""
        self.trouble: str | None = None
        """Why it does not answer, or why it ended by itself."""
        self.ending = False
        """Whether it is being ended, or was: on purpose."""
        self.lived_seconds = 0.0
        self._is_told_to_end = False
        self._is_dead = False
        self._ending: asyncio.Task[None] | None = None
        self._on_change = on_change
        self._usable = asyncio.Event()
        self._doubted = asyncio.Event()
        self._task = asyncio.create_task(self._live(), name="engine supervisor")

    @property
    def is_ready(self) -> bool:
        """Whether it can take prompts."""
        return self._usable.is_set() and not self.ending and not self.ended

    @property
    def ended(self) -> bool:
        """Whether it is gone. Look at `fault` then."""
        return self._task.done()

    @property
    def has_died(self) -> bool:
        """Whether its process is gone: what it wrote may take long to clear away."""
        return self._is_dead

    @property
    def is_going(self) -> bool:
        """Whether it is gone, or will be in a moment: also one that has died and is cleared away."""
        return self.ending or self.ended or self._is_dead

    def raise_fault(self) -> None:
        """Raise what ended the watch, where it was neither the engine nor who called it off."""
        if self._task.done() and not self._task.cancelled():
            self._task.result()

    async def until_usable(self) -> bool:
        """Wait until it can take prompts, or is gone; tell which."""
        while not (self.is_ready or self.ending or self.ended):
            await self._usable.wait()
        return self.is_ready

    def doubt(self) -> None:
        """The engine did not answer somebody: find out whether it is still there before more work is taken."""
        self._doubted.set()

    async def end(self) -> None:
        """End the engine's life, also while it starts, and wait for that. Prompts in flight raise EngineCrashed."""
        is_first, self._is_told_to_end, self.ending = not self._is_told_to_end, True, True
        if is_first and self.description is None:
            self._task.cancel()
        elif is_first:
            # Of its own: whoever asks for the end may be called off in the middle of it.
            self._ending = asyncio.create_task(self._stop_engine(), name="engine stop")
        await asyncio.wait({self._task, *({self._ending} if self._ending is not None else ())})

    async def _stop_engine(self) -> None:
        try:
            await self.engine.stop()
        except EngineError:
            pass
        except Exception:
            log.exception("An engine could not be stopped in good order.")
            self._task.cancel()

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        settling: asyncio.Task[None] | None = None
        try:
            self.description = await self.engine.start()
            log.info("The engine is ready.", seconds=round(loop.time() - began, 2), version=self.description.version)
            self._tell(usable=True)
            settling = asyncio.create_task(self._settle(), name="engine facts")
            self.trouble = await self._until_dead()
        except EngineError as error:
            self.trouble = str(error)
        finally:
            self._is_dead = True
            self.lived_seconds = loop.time() - began
            if settling is not None:
                settling.cancel()
            self._usable.clear()
            self._on_change()
            # Also after a crash: what it holds (its base folder's lock) is in the way of the next one.
            try:
                with contextlib.suppress(EngineError):
                    await self.engine.stop()
            finally:
                self._usable.set()  # whoever waits for it looks at what became of it
                loop.call_soon(self._on_change)

    async def _settle(self) -> None:
        """Hear how the engines after this one start: that is found out while it works."""
        facts = await self.engine.settled()
        if facts is not None and self.description is not None:
            self.description = replace(self.description, sandbox=facts)
            self._on_change()

    async def _until_dead(self) -> str | None:
        """Wait for the end of the engine; on the way find out about doubts. Returns the reason."""
        death = asyncio.create_task(self.engine.wait_dead())
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
                await self._probe(death)
        finally:
            death.cancel()

    async def _probe(self, death: "asyncio.Task[EngineError | None]") -> None:
        """Ask the engine until it answers or is known to be dead; while it does not answer it gets no work."""
        while not death.done():
            try:
                self.description = await self.engine.describe()
            except EngineError as error:
                self.trouble = str(error)
                self._tell(usable=False)
                await asyncio.wait({death}, timeout=_PROBE_SECONDS)
            else:
                if not self._usable.is_set():
                    self.life = next(_LIVES)
                    self.trouble = None
                    self._tell(usable=True)
                return

    def _tell(self, *, usable: bool) -> None:
        if usable:
            self._usable.set()
        else:
            self._usable.clear()
        self._on_change()
