"""The fork server of a worker's engines: whether there is one, at which level, and why not better.

An engine that was booted shows what a forked one must have; when that was seen, engines are forked. What was found out
is kept (`memory.py`), so that the next worker with this ComfyUI begins with the fork server.
"""

import asyncio
import secrets
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import structlog

from runflow.worker.engine.base import EngineError, EngineStartFailed
from runflow.worker.engine.boot import SECRET_VARIABLE, OwnedSettings, secret_headers, until_ready
from runflow.worker.engine.execution import Outcome
from runflow.worker.engine.forks.fork_server import ForkedEngine, ForkRefused, ForkServer, Wish
from runflow.worker.engine.forks.imported import Imported
from runflow.worker.engine.forks.memory import ForkMemory, Remembered, cache_folder, identity
from runflow.worker.engine.isolation.rungs import Rung, Sandbox
from runflow.worker.engine.isolation.view import Runtime
from runflow.worker.engine.listening_socket import ListeningSocket
from runflow.worker.engine.protocol import ComfyClient
from runflow.worker.engine.run_files import Life
from runflow.worker.engine.session import PromptSession

log = structlog.get_logger(__name__)

EVERYTHING, PACKAGES = 3, 0
"""The levels: server and node packs imported before the fork; only what they import of others."""
_MOST_LOADS = 8
"""How often a fork server is started anew, with more packs left to its children."""
_CANARY_SECONDS = 120.0
_READY_SECONDS = {EVERYTHING: 60.0}
"""What was imported already answers at once, or hangs; the rest takes what a boot takes."""
_CANARY = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "canary"}},
}
_CANNOT_COMPUTE = "A forked engine cannot compute: something had computed before the fork."
_CANNOT_COMPUTE_ON_GPU = (
    "A forked engine cannot compute on the graphics card: it does not work in a user namespace here, or something had "
    "computed before the fork."
)
_ON_A_GPU = "Engines are forked at level 0: level 3 on a graphics card waits for a GPU test."


class ForkHome(Protocol):
    """What a fork server needs to know of where its engines live (`home.EngineHome`)."""

    settings: OwnedSettings
    base_dir: Path
    sandbox: Sandbox
    disk_limit: int

    @property
    def runtime(self) -> Runtime:
        """What engines are made of."""

    @property
    def lives(self) -> Path:
        """Where each has its folder."""

    def environment(self) -> dict[str, str]:
        """Return what each gets to see."""

    def main_arguments(self, port: int) -> list[str]:
        """Return the arguments of main.py."""

    def new_life(self) -> Life:
        """Make the folders of one more engine."""

    def end_life(self, life: Life) -> None:
        """Remove what an engine left."""


class ForkSupervisor:
    """Starts the fork server where that works. `levels`: those to try, best first; None: what is known to be safe."""

    def __init__(self, home: ForkHome, levels: tuple[int, ...] | None = None) -> None:
        self._home = home
        self._wanted_levels = levels
        self.server: ForkServer | None = None
        self.nodes: dict[str, bool] | None = None
        """The node classes of engines out of this fork server, once one of them has listed them."""
        self.level: int | None = None
        self.why_none: str | None = "No engine has been started yet."
        self._why_lower: str | None = None
        self._known: Remembered | None = None
        self._expected: frozenset[str] = frozenset()
        self._is_stale = False
        """Whether the fork server has another network than engines are to have now."""
        self._is_refused = False
        self._preparing: asyncio.Task[None] | None = None
        self._memory = ForkMemory(home.settings.proofs or cache_folder(), home.base_dir / "forks")

    @property
    def is_ready(self) -> bool:
        """Whether the next engine is forked."""
        return self.server is not None and self.server.running and self.level is not None and not self._is_stale

    @property
    def why_not_better(self) -> str | None:
        """Why engines are booted, or forked at a lower level; None at the best."""
        return self.why_none or self._why_lower

    def replace_soon(self) -> None:
        """Note that engines are to be held otherwise than the fork server is."""
        self._is_stale = self.server is not None

    async def wait_until_ready(self) -> None:
        """Start the fork server and wait for it where it is known to do for this ComfyUI what a boot does."""
        if self._is_stale:
            await self.settled()
        if self._is_stale and self.server is not None and self.server.is_idle:
            await self.server.stop()
            self.server, self._is_stale = None, False
        if self.is_ready or self._is_stale or not self._may_fork():
            return
        if self._preparing is None or self._preparing.done():
            self._preparing = asyncio.create_task(self._start_known(), name="fork server")
        await asyncio.wait({self._preparing})

    def expect(self, node_types: frozenset[str]) -> None:
        """Say which classes this ComfyUI was seen to have: then none has to be booted before one is forked.

        Where importing it touches a graphics card, the first engine is booted all the same.
        """
        self._expected = node_types

    def prove(self, node_types: frozenset[str], life: Life | None) -> None:
        """Prepare a fork server while an engine that was booted works: in `life`, with these classes."""
        imported = Imported() if life is None or life.imports is None else life.imports.read()
        if self._preparing is None or self._preparing.done():
            self._preparing = asyncio.create_task(self._prove(node_types, imported), name="fork server")

    async def settled(self) -> None:
        """Wait until it is known how further engines start."""
        if self._preparing is not None:
            await asyncio.wait({self._preparing})

    async def stop(self) -> None:
        """End the fork server with all that came from it."""
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.wait({self._preparing})
        if self.server is not None:
            await self.server.stop()
            self.server = None

    async def fork(self, life: Life, secret: str, listening: ListeningSocket, log_path: Path) -> ForkedEngine:
        """Fork an engine into this life. Raises EngineStartFailed."""
        if self.server is None:
            raise EngineStartFailed("There is no fork server.")
        return await self.server.fork(
            life.name,
            life.number,
            listening.fileno(),
            {SECRET_VARIABLE: secret},
            log_path,
            file_bytes=self._home.disk_limit,
        )

    @property
    def ready_seconds(self) -> float:
        """How long a forked engine may take until it answers."""
        return _READY_SECONDS.get(self.level or PACKAGES, self._home.settings.boot_seconds)

    async def require_held(self, engine: ForkedEngine) -> None:
        """See that an engine is shut in as it must be, before its first prompt.

        Raises EngineStartFailed. The fork server of one that is not ends with all that came from it.
        """
        fault = None if self.server is None else await self.server.held(engine)
        if fault is None or self.server is None:
            return
        if not engine.running:
            raise EngineStartFailed("The engine ended before its first prompt.")
        self._is_refused, self.level = True, None
        self.why_none = f"Engines are booted, not forked: {fault}. A node pack may have done that at import."
        log.error("A forked engine is not held as it must be.", reason=fault)
        await self.server.stop()
        await engine.kill()
        if self._known is not None:
            await asyncio.to_thread(self._memory.forget, self._known.identity)
        raise EngineStartFailed(self.why_none)

    async def require_parity(self, client: ComfyClient) -> None:
        """See that the first engine out of a fork server has every class that it is known for.

        Raises EngineStartFailed; the next engine is booted, and it is found out anew what forks can do.
        """
        if self.nodes is not None:
            return
        found = await client.object_info()
        missing = () if self._known is None else frozenset(self._known.node_types) - frozenset(found)
        if self._known is not None and missing:
            await asyncio.to_thread(self._memory.forget, self._known.identity)
            self.level, self._known = None, None
            self.why_none = f"Engines are booted, not forked: {_lacks(missing)}"
            raise EngineStartFailed(self.why_none)
        self.nodes = found

    # ------------------------------------------------------------------------------------------- how it comes to be
    def _may_fork(self) -> bool:
        sandbox = self._home.sandbox
        if sandbox.rung is not Rung.NAMESPACES:
            self._boots("Engines are booted, not forked: that needs namespaces.")
        elif self._is_refused:
            return False
        elif sandbox.privileged and sandbox.users is None:
            self._boots("Engines are booted, not forked: they have root's user id.")
        else:
            return True
        return False

    def _boots(self, why: str) -> None:
        """Note why engines are booted, and say it in the log, once."""
        if why != self.why_none:
            log.info("The next engine is booted.", reason=why)
        self.why_none = why

    @property
    def _sandbox(self) -> Sandbox:
        """What holds the fork server: as root always a user namespace, for in itself it keeps the right to mount."""
        return replace(self._home.sandbox, mapped=True)

    @property
    def _on_gpu(self) -> bool:
        return "--cpu" not in self._home.main_arguments(0)

    def _levels(self) -> tuple[int, ...]:
        return self._wanted_levels or ((PACKAGES,) if self._on_gpu else (EVERYTHING, PACKAGES))

    async def _identity(self) -> str:
        home, sandbox = self._home, self._sandbox
        held = f"layered={sandbox.layered} in_users={sandbox.in_users} gpu={sandbox.gpu}"
        return await asyncio.to_thread(identity, home.runtime, [*home.main_arguments(0), held])

    async def _start_known(self) -> None:
        key = await self._identity()
        known = await asyncio.to_thread(self._memory.read, key)
        if known is None or not known.is_proven or known.level not in self._levels():
            expected, self._expected = self._expected, frozenset()
            if expected and EVERYTHING in self._levels():
                await self._start(Remembered(key, EVERYTHING), expected)
                return
            self._boots("The first engine of a ComfyUI is booted; those after it are forked once that is tried.")
            return
        refused = await self._start(known)
        if refused is not None:
            # Something that its identity does not tell of has changed: it is found out anew.
            await asyncio.to_thread(self._memory.forget, key)

    async def _prove(self, node_types: frozenset[str], imported: Imported) -> None:
        if self.is_ready or self._is_stale or not self._may_fork():
            return
        key = await self._identity()
        tried: list[str] = []
        for level in self._levels():
            why_lower = f"Engines are forked at level {level}. {' '.join(tried)}" if tried else None
            known = Remembered(key, level, modules=imported.modules, settings=imported.settings, why_lower=why_lower)
            refused = await self._start(known, node_types)
            if refused is None:
                return
            tried.append(f"Level {level} does not work: {refused}")
        self._is_refused = True
        self.why_none = f"Engines are booted, not forked. {' '.join(tried)}"
        log.warning("No fork server.", reason=self.why_none)

    async def _start(self, known: Remembered, node_types: frozenset[str] | None = None) -> str | None:
        """Start the fork server; where that is not known yet, prove that its engines have what a booted one has.

        Returns why that does not work, None where it does.
        """
        try:
            if known.level == PACKAGES and not known.modules:
                raise ForkRefused("It is not known what a boot imports.")
            known = await self._load_calmly(known)
            assert self.server is not None
            if not await self.server.computes(cuda=self._on_gpu):
                raise ForkRefused(_CANNOT_COMPUTE_ON_GPU if self._on_gpu else _CANNOT_COMPUTE)
            if node_types is not None:
                await self._try_a_fork(node_types)
                known = await asyncio.to_thread(self._memory.write, known.proven(node_types))
        except (ForkRefused, EngineError, OSError) as refused:
            self.why_none = f"Engines are booted, not forked: {refused}"
            log.warning("A level of forks does not work here.", level=known.level, reason=str(refused))
            if self.server is not None:
                log.warning("what the fork server said", log_tail=self.server.tail()[-3000:])
                await self.server.stop()
                self.server = None
            return str(refused)
        self._known, self.level, self.why_none = known, known.level, None
        self._why_lower = known.why_lower or (_ON_A_GPU if known.level == PACKAGES and self._on_gpu else None)
        log.info(
            "Engines are forked.",
            level=known.level,
            loaded_by_each=list(known.load_in_child),
            why_not_better=self._why_lower,
        )
        return None

    async def _load_calmly(self, known: Remembered) -> Remembered:
        """Load it, again without the packs that no fork survives: their children load them."""
        home = self._home
        for _ in range(_MOST_LOADS):
            if self.server is not None:
                await self.server.stop()
            self.nodes, self.level = None, None
            self.server = ForkServer(
                home.runtime,
                self._sandbox,
                home.lives,
                # Its plugin is to know that it is a worker's; each engine has a secret of its own.
                {**home.environment(), SECRET_VARIABLE: secrets.token_urlsafe(32)},
                home.base_dir / "forks.log",
            )
            complaints = await self.server.start(
                Wish(
                    known.level,
                    tuple(home.main_arguments(0)),
                    known.load_in_child,
                    known.modules,
                    known.settings,
                )
            )
            if not complaints:
                return known
            what = "package" if known.level == PACKAGES else "node pack"
            for pack, left in complaints.items():
                log.warning(f"A {what} is loaded by each engine.", pack=pack, left=list(left))
            known = known.without(complaints)
        raise ForkRefused("Too many node packs leave something behind that no fork survives.")

    async def _try_a_fork(self, node_types: frozenset[str]) -> None:
        """See that a forked engine has what a booted one has, and executes a prompt. Raises what says why not."""
        home, server = self._home, self.server
        assert server is not None
        life = await asyncio.to_thread(home.new_life)
        listening = ListeningSocket(home.base_dir / "sockets")
        secret = secrets.token_urlsafe(32)
        client = ComfyClient("http://engine", headers=secret_headers(secret), socket_path=str(listening.path))
        log_path = home.base_dir / "forks-canary.log"
        engine: ForkedEngine | None = None
        try:
            engine = await self.fork(life, secret, listening, log_path)
            await until_ready(engine, client, _CANARY_SECONDS, log_path, None)
            if (fault := await server.held(engine)) is not None:
                raise ForkRefused(f"{fault[:1].upper()}{fault[1:]}.")
            found = await client.object_info()
            if missing := node_types - frozenset(found):
                raise ForkRefused(_lacks(missing))
            await _execute_canary(client)
            self.nodes = found
        finally:
            await client.close()
            if engine is not None:
                await engine.kill()
            listening.close()
            await asyncio.to_thread(home.end_life, life)


def _lacks(missing: frozenset[str]) -> str:
    return f"A forked engine lacks {len(missing)} node classes, e.g. {min(missing)}."


async def _execute_canary(client: ComfyClient) -> None:
    prompt: dict[str, Any] = _CANARY
    session = PromptSession(client)
    await session.open()
    try:
        async with asyncio.timeout(_CANARY_SECONDS):
            execution = await session.execute(prompt, str(uuid.uuid4()))
    except (TimeoutError, EngineError) as error:
        raise ForkRefused(f"A forked engine executes no prompt: {error or 'it hangs'}") from error
    finally:
        await session.close()
    if execution.outcome is not Outcome.SUCCEEDED:
        raise ForkRefused(f"A forked engine fails at a prompt: {execution.error}")
