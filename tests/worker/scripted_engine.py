"""An engine that does what the test says: for faults that a real ComfyUI does not produce on demand."""

import asyncio
import struct
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runflow.worker.engine.base import (
    Ability,
    EngineCrashed,
    EngineDescription,
    EngineError,
    EngineKind,
    EngineUnreachable,
    OnBoot,
    OutputRef,
    SandboxFacts,
)
from runflow.worker.engine.boundary import OpenedOutput, open_own
from runflow.worker.engine.execution import (
    EngineEvent,
    EventKind,
    Execution,
    ModelLoads,
    NodeError,
    OnEvent,
    Outcome,
    Prompt,
)
from runflow.worker.engine.home_files import HomeFiles
from runflow.worker.engine.run_files import RunFiles
from tests.support.waiting import until


def png(width: int = 4, height: int = 3) -> bytes:
    """A valid picture, without a library."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + b"\x80" * (3 * width) for _ in range(height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@dataclass(slots=True)
class Flight:
    """One prompt inside the engine."""

    id: str
    prompt: Prompt
    on_event: OnEvent | None
    end: asyncio.Future[Execution]
    began: bool = False
    player: asyncio.Task[None] | None = None


Script = Callable[["ScriptedEngine", Flight], Awaitable[Execution]]


async def save_picture(engine: "ScriptedEngine", flight: Flight) -> Execution:
    """What a healthy engine does with the tests' prompt: node 1, then node 9 saves a picture in the run's folder."""
    for node_id in flight.prompt:
        engine.tell(flight, EventKind.NODE_STARTED, node_id=node_id)
        engine.tell(flight, EventKind.NODE_FINISHED, node_id=node_id)
    return engine.succeed(flight)


class Hold:
    """A script that waits until it is let go; `began` says which prompts execute."""

    def __init__(self) -> None:
        self._release: dict[str, asyncio.Event] = {}
        self.began: list[str] = []

    async def __call__(self, engine: "ScriptedEngine", flight: Flight) -> Execution:
        self.began.append(flight.id)
        await self._release.setdefault(flight.id, asyncio.Event()).wait()
        return engine.succeed(flight)

    def let_go(self, lease_id: str) -> None:
        self._release.setdefault(lease_id, asyncio.Event()).set()

    async def until_began(self, lease_id: str) -> None:
        await until(lambda: lease_id in self.began)


class ScriptedEngine:
    """Executes one prompt at a time, in order, by `script`."""

    kind = EngineKind.OWNED

    def __init__(self, base: Path) -> None:
        self.base = base
        self.isolates = True
        self.quick = False
        self.device_type = "cuda"
        self.resident_bytes = 1024**3
        self.peak_bytes: int | None = None
        """What each prompt needed of memory at most."""
        self.loads: Mapping[str, float] | None = None
        """How long each node of a prompt loads models, in milliseconds."""
        self.abilities = frozenset({Ability.LOCAL_FILES, Ability.KILL, Ability.EXACT_INTERRUPT})
        self.script: Script = save_picture
        self.scripts: dict[str, Script] = {}
        """By prompt id, over `script`."""
        self.log: list[str] = []
        self.begun: list[str] = []
        self.cleaned: list[str] = []
        self.noted: list[str | None] = []
        self.prompts: dict[str, Prompt] = {}
        self.inputs: dict[str, bytes] = {}
        self.homes: list[HomeFiles] = []
        """What its home was to hold."""
        self.starts = 0
        self.start_error: EngineError | None = None
        self.hold_start: asyncio.Event | None = None
        self.facts: SandboxFacts | None = None
        """What is said of its sandbox from `hold_settled` on."""
        self.hold_settled = asyncio.Event()
        self.hold_stop: asyncio.Event | None = None
        self.hold_place: asyncio.Event | None = None
        self.on_begin: Callable[[], None] = lambda: None
        self.on_placed: Callable[[], None] = lambda: None
        self.placing: list[str] = []
        """What was to be placed, in order."""
        self.obeys = True
        self.is_silent = False
        """Whether it does not answer questions."""
        self.remote = False
        """Whether outputs must be fetched instead of read from disk."""
        self.most_inside = 0
        self._flights: dict[str, Flight] = {}
        self._current: Flight | None = None
        self._gone = asyncio.Event()
        self._death: EngineError | None = None
        self._running = False
        self._holds_folder = False

    @property
    def alive(self) -> bool:
        return self._running

    async def start(self, on_boot: OnBoot | None = None) -> EngineDescription:
        self.log.append("start")
        self.starts += 1
        assert not self._holds_folder, "an engine that crashed must be stopped before the next one starts"
        self._holds_folder = True
        if self.hold_start is not None:
            await self.hold_start.wait()
        if self.start_error is not None:
            raise self.start_error
        self._running, self._death = True, None
        self._gone.clear()
        return await self.describe()

    async def stop(self) -> None:
        self.log.append("stop")
        if self.hold_stop is not None:
            await self.hold_stop.wait()
        self._holds_folder = False
        if self._running:
            self._end(EngineCrashed("The engine was stopped while it had work."))
            self._death = None

    async def wait_dead(self) -> EngineError | None:
        await self._gone.wait()
        return self._death

    async def describe(self) -> EngineDescription:
        if self._death is not None:
            raise self._death
        if self.is_silent:
            raise EngineUnreachable("The engine does not answer.")
        return EngineDescription(
            kind=self.kind,
            url="http://engine",
            version="0.30.0",
            python="3.11",
            torch="2.13",
            device_type=self.device_type,
            device_name="NVIDIA L40S",
            memory_bytes=48 * 1024**3,
            node_types=frozenset(),
            output_types=frozenset(),
            plugin=True,
            abilities=self.abilities,
            isolation=(),
        )

    async def settled(self) -> SandboxFacts | None:
        await self.hold_settled.wait()
        return self.facts

    def memory_bytes(self) -> int:
        return self.resident_bytes

    model_folders: tuple[Path, ...] = ()

    async def lay_home(self, files: HomeFiles) -> None:
        self.homes.append(files)

    async def place_input(self, run_folder: str, name: str, path: Path) -> str:
        place = f"{run_folder}/{name}"
        self.placing.append(place)
        self._require_alive()
        if self.hold_place is not None:
            await self.hold_place.wait()
            self._require_alive()
        assert place not in self.inputs
        self.inputs[place] = path.read_bytes()
        self.on_placed()
        return place

    async def begin(self, run_folder: str) -> None:
        self._require_alive()
        self.on_begin()
        self._require_alive()
        self.begun.append(run_folder)

    async def open_output(self, output: OutputRef, staging: Path) -> OpenedOutput:
        opened = RunFiles(self.base, uid=None).open_output(output)
        if not self.remote:
            return opened
        with opened:
            staging.parent.mkdir(parents=True, exist_ok=True)
            staging.write_bytes(opened.read(opened.size_bytes, 0))
        return open_own(staging, output.filename)

    def note_run(self, run_id: str | None) -> None:
        self.noted.append(run_id)

    async def execute(
        self,
        prompt: Prompt,
        prompt_id: str,
        on_event: OnEvent | None = None,
        *,
        extra_data: Mapping[str, Any] | None = None,
    ) -> Execution:
        if self._death is not None:
            raise self._death
        flight = Flight(prompt_id, prompt, on_event, asyncio.get_running_loop().create_future())
        self.log.append(f"submit {prompt_id}")
        self.prompts[prompt_id] = prompt
        self._flights[prompt_id] = flight
        self.most_inside = max(self.most_inside, len(self._flights))
        self._next()
        try:
            return await flight.end
        finally:
            self._leave(flight)

    async def cancel(self, prompt_id: str, *, timeout: float = 10.0) -> bool:
        self.log.append(f"cancel {prompt_id}")
        flight = self._flights.get(prompt_id)
        if flight is None:
            return True
        if not self.obeys:
            return False
        if flight.player is not None:
            flight.player.cancel()
        if not flight.end.done():
            flight.end.set_result(Execution(Outcome.INTERRUPTED, {}, (), None, 1.0, None, time.time()))
        return True

    async def free(self) -> None:
        self._require_alive()
        self.log.append("free")

    async def clean(self, run_folder: str) -> None:
        self.cleaned.append(run_folder)

    def crash(self, message: str = "The engine was killed.", log_tail: str = "", *, again: bool = True) -> None:
        """Die, with everything inside."""
        self._end(EngineCrashed(message, log_tail=log_tail, again=again))

    def tell(self, flight: Flight, kind: EventKind, **more: Any) -> None:
        if flight.on_event is not None:
            flight.on_event(EngineEvent(kind, time.time(), **more))

    def succeed(self, flight: Flight, content: bytes | None = None, name: str = "runflow_00001_.png") -> Execution:
        """Write the picture of node 9 and return the end."""
        folder = flight.prompt["9"]["inputs"]["output_subfolder"]
        path = self.base / "output" / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png() if content is None else content)
        outputs = {"9": {"images": [{"filename": name, "subfolder": folder, "type": "output"}]}}
        loads = None if self.loads is None else ModelLoads(sum(self.loads.values()), self.loads)
        return replace(self.end(Outcome.SUCCEEDED, outputs), peak_memory_bytes=self.peak_bytes, loads=loads)

    @staticmethod
    def end(
        outcome: Outcome,
        outputs: dict[str, Any] | None = None,
        error: NodeError | None = None,
        *,
        rejected: bool = False,
    ) -> Execution:
        now = time.time()
        return Execution(outcome, outputs or {}, (), error, 4.0, None if rejected else now, now, rejected)

    def _require_alive(self) -> None:
        if not self._running:
            raise EngineUnreachable("The engine does not run; start it first.")

    def _next(self) -> None:
        if self._current is None and self._flights and self._death is None:
            self._current = flight = next(iter(self._flights.values()))
            flight.player = asyncio.get_running_loop().create_task(self._play(flight))

    async def _play(self, flight: Flight) -> None:
        flight.began = True
        self.log.append(f"begin {flight.id}")
        self.tell(flight, EventKind.STARTED)
        script = self.scripts.get(flight.id, self.script)
        try:
            execution = await script(self, flight)
        except EngineError as error:
            if not flight.end.done():
                flight.end.set_exception(error)
            return
        if not flight.end.done():
            flight.end.set_result(execution)

    def _leave(self, flight: Flight) -> None:
        self.log.append(f"end {flight.id}")
        self._flights.pop(flight.id, None)
        if flight.player is not None:
            flight.player.cancel()
        if self._current is flight:
            self._current = None
            self._next()

    def _end(self, death: EngineError) -> None:
        self._running = False
        self._death = death
        for flight in self._flights.values():
            if flight.player is not None:
                flight.player.cancel()
            if not flight.end.done():
                flight.end.set_exception(death)
        self._gone.set()
