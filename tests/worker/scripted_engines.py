"""Several scripted engines, made one after the other as a worker asks for them, and what was true of all together."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from runflow.worker.engine.execution import Execution
from tests.support.fake_server import FakeServer
from tests.worker.scripted_engine import Flight, ScriptedEngine, save_picture

RED, BLUE, GREEN = "organization-red", "organization-blue", "organization-green"
GIB = 1024**3


class ScriptedEngines:
    """Finds engines for an agent: call it. `quick` and the other attributes are those of the next ones."""

    def __init__(self, base: Path, **attributes: Any) -> None:
        self.base = base
        self.attributes = attributes
        self.script: Callable[[ScriptedEngine, Flight], Awaitable[Execution]] = save_picture
        self.engines: list[ScriptedEngine] = []
        self.executing: list[ScriptedEngine] = []
        self.overlaps = 0
        """How often a prompt began while another engine executed one."""

    def __call__(self) -> ScriptedEngine:
        engine = ScriptedEngine(self.base / f"engine-{len(self.engines)}")
        for name, value in self.attributes.items():
            setattr(engine, name, value)
        engine.script = self._play
        self.engines.append(engine)
        return engine

    async def _play(self, engine: ScriptedEngine, flight: Flight) -> Execution:
        self.overlaps += any(other is not engine for other in self.executing)
        self.executing.append(engine)
        try:
            return await self.script(engine, flight)
        finally:
            self.executing.remove(engine)

    @property
    def started(self) -> int:
        return sum(engine.starts for engine in self.engines)

    @property
    def alive(self) -> list[ScriptedEngine]:
        return [engine for engine in self.engines if engine.alive]

    def of(self, lease_id: str) -> ScriptedEngine:
        """The engine that executed this run's prompt."""
        (engine,) = [engine for engine in self.engines if lease_id in engine.prompts]
        return engine


async def succeed(server: FakeServer, domain: str, **changes: Any) -> str:
    """Carry a run of this domain through; returns its lease id."""
    lease_id = server.offer(domain=domain, **changes)
    assert (await server.completion(lease_id))["result"] == "succeeded"
    return lease_id
