"""An engine that we start: a ComfyUI folder, a base folder of ours, one process that ends when we do."""

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from runflow.protocol.failures import FailureCode
from runflow.worker.engine.base import (
    Ability,
    EngineCrashed,
    EngineDescription,
    EngineError,
    EngineKind,
    EngineStartFailed,
    EngineUnreachable,
    OnBoot,
    OutputRef,
    SandboxFacts,
)
from runflow.worker.engine.boot import (
    OwnedSettings,
    Started,
    secret_headers,
    until_ready,
)
from runflow.worker.engine.boundary import OpenedOutput
from runflow.worker.engine.describe import read_description
from runflow.worker.engine.diagnosis import diagnose
from runflow.worker.engine.execution import Execution, OnEvent, Prompt
from runflow.worker.engine.folders import home_folder
from runflow.worker.engine.forks.fork_server import ForkedEngine
from runflow.worker.engine.home import EngineHome
from runflow.worker.engine.home_files import HomeFiles
from runflow.worker.engine.listening_socket import ListeningSocket
from runflow.worker.engine.process import EngineProcess, default_limit_bytes, free_port
from runflow.worker.engine.protocol import ComfyClient
from runflow.worker.engine.run_files import Life, RunFiles
from runflow.worker.engine.session import PromptSession

log = structlog.get_logger(__name__)

_PORT_TRIES = 3
_MEMORY_SECONDS = 1.0
_CHILDREN_EVERY = 10
_DISK_EVERY = 5
_OWN_ABILITIES = frozenset({Ability.LOCAL_FILES, Ability.OWN_FOLDERS, Ability.KILL, Ability.MEMORY_LIMIT})


class OwnedEngine:
    """One ComfyUI process at a time, started again by `start` after `stop` or a crash.

    Several live at once in one `home` where the sandbox keeps them apart; without one it has a home of its own.
    """

    kind = EngineKind.OWNED
    isolates = True

    def __init__(self, settings: OwnedSettings, home: EngineHome | None = None) -> None:
        self.settings = settings
        self.base_dir = settings.base_dir.absolute()
        self._limit = settings.memory_limit_bytes or default_limit_bytes()
        self._home = home or EngineHome(settings)
        self._has_own_home = home is None
        self._life: Life | None = None
        self._process: EngineProcess | ForkedEngine | None = None
        self._socket: ListeningSocket | None = None
        self._client: ComfyClient | None = None
        self._session: PromptSession | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._abilities: frozenset[Ability] = _OWN_ABILITIES
        self._stopping = False
        self._killed_because: str | None = None
        self._killed_code: FailureCode | None = None
        self._death: EngineError | None = None
        self._gone = asyncio.Event()

    @property
    def abilities(self) -> frozenset[Ability]:
        """What this one can do; complete after `start`."""
        return self._abilities

    @property
    def alive(self) -> bool:
        """Whether the process runs and takes prompts."""
        return self._session is not None and self._process is not None and self._process.running

    @property
    def quick(self) -> bool:
        """Whether a fresh one is forked, in a fraction of a second, and can live beside this one."""
        return self._home.can_fork

    @property
    def pid(self) -> int | None:
        """The engine's process id while it runs."""
        return self._process.pid if self._process and self._process.running else None

    @property
    def url(self) -> str:
        """The address of its API, on the loopback interface. Raises EngineError when it does not run."""
        return self._connected()[0].url

    def isolation(self) -> tuple[str, ...]:
        """Return what separates the engine from the worker, and what does not."""
        home, life = self._home, self._life
        uid = life.uid if life is not None else self.settings.uid
        held: tuple[str, ...]
        if home.sandbox.has_lives:
            held = home.sandbox.words()
        elif uid:
            held = (f"user id {uid} of its own", "NOT a view of its own: it reads what others of the machine may read")
        else:
            held = ("NOT a user of its own: it can read what the worker's user can read",)
        return (
            "a session and process group of its own, which ends with the worker",
            "a scrubbed environment without any setting or secret of Runflow but the engine's own",
            f"a memory limit of {self._limit / 2**30:.1f} GiB",
            *held,
        )

    async def start(self, on_boot: OnBoot | None = None) -> EngineDescription:
        """Start the process and wait until it answers. Raises EngineStartFailed with the cause and the next step."""
        await self.stop()
        await self._home.open()
        try:
            await self._home.forks.wait_until_ready()
            self._stopping, self._killed_because, self._killed_code, self._death = False, None, None, None
            self._gone.clear()
            changed = self._home.changed  # what changes while it starts holds for it, too
            client = await self._bring_up(on_boot)
            self._client = client
            description = await self._read_description(client)
        except OSError as error:
            await self._end()
            where = f"{error.filename}: " if error.filename else ""
            raise EngineStartFailed(
                f"The engine cannot be started: {where}{error.strerror or error}. See that the disk has room and that "
                f"the worker may write to {self.base_dir}."
            ) from error
        except BaseException:
            await self._end()
            raise
        if self.settings.enclosed and not self._home.can_fork:
            self._home.forks.prove(description.node_types, self._life)
        self._abilities = description.abilities
        session = PromptSession(client)
        await session.open()
        self._session = session
        process = self._process
        assert process is not None
        self._tasks = [
            asyncio.create_task(self._watch_exit(process, session), name="engine-exit"),
            asyncio.create_task(self._watch_memory(process), name="engine-memory"),
            asyncio.create_task(self._end_when_outdated(session, changed), name="engine-outdated"),
        ]
        if self.settings.with_plugin and not description.plugin:
            log.warning("the engine runs without the Runflow nodes; its log says why", log_path=str(self.log_path))
        return description

    async def stop(self) -> None:
        """End the process and everything it started. Prompts in flight raise EngineCrashed."""
        self._stopping = True
        await self._end()

    async def kill(self, reason: str) -> None:
        """End the process at once, as a crash with this reason: for a prompt that does not listen to interrupts."""
        if self._session is not None:
            self._session.fail_all(EngineCrashed(reason))
        if self._process is not None:
            await self._process.kill()

    async def wait_dead(self) -> EngineError | None:
        """Wait until it is gone; the reason, or None when it was stopped on purpose."""
        await self._gone.wait()
        return self._death

    async def describe(self) -> EngineDescription:
        """Ask it what it is now."""
        return await self._read_description(self._connected()[0])

    async def settled(self) -> SandboxFacts:
        """Wait until it is known whether engines after this one are forked; return what is said of it then."""
        await self._home.settled()
        return self._home.facts

    async def _read_description(self, client: ComfyClient) -> EngineDescription:
        home = self._home
        is_forked = isinstance(self._process, ForkedEngine)
        found = await read_description(
            client,
            self.kind,
            extra_abilities=_OWN_ABILITIES,
            isolation=self.isolation(),
            nodes=home.forks.nodes if is_forked else None,
        )
        return replace(found, sandbox=home.facts)

    def memory_bytes(self) -> int:
        """Return the resident memory of the process, without what it started; 0 when it does not run."""
        return 0 if self._process is None else self._process.memory_bytes(children=False)

    @property
    def log_path(self) -> Path:
        """The file that the engine's own output goes to; the one before it ends in `.log.1`.

        Of engines that live side by side each has one, and the newest has this name at last.
        """
        return self.base_dir / "engine.log"

    @property
    def model_folders(self) -> tuple[Path, ...]:
        """The folder of its own, and that of the ComfyUI that it was started from."""
        return (self._root / "models", self.settings.comfy_dir / "models")

    async def begin(self, run_folder: str) -> None:
        """Take note of a run (`RunFiles.begin`)."""
        if not self._files().begin(run_folder, wait=False):
            await asyncio.to_thread(self._files().begin, run_folder)

    async def lay_home(self, files: HomeFiles) -> None:
        """Have its home hold these links and texts (`RunFiles.lay_home`)."""
        await asyncio.to_thread(self._files().lay_home, files)

    async def place_input(self, run_folder: str, name: str, path: Path) -> str:
        """Copy a file below the run's folder in input/ (`RunFiles.place_input`). Returns the name for a loader node."""
        return await asyncio.to_thread(self._files().place_input, run_folder, name, path)

    async def open_output(self, output: OutputRef, staging: Path) -> OpenedOutput:
        """Open an output where it lies (`RunFiles.open_output`)."""
        return await asyncio.to_thread(self._files().open_output, output)

    def note_run(self, run_id: str | None) -> None:
        """Write this run's id beside what the engine prints from now on (`log.py`)."""
        if self._process is not None:
            self._process.log.note_run(run_id)

    async def execute(
        self,
        prompt: Prompt,
        prompt_id: str,
        on_event: OnEvent | None = None,
        *,
        extra_data: Mapping[str, Any] | None = None,
    ) -> Execution:
        """Run one prompt to its end. See PromptSession.execute."""
        return await self._connected()[1].execute(prompt, prompt_id, on_event, extra_data=extra_data)

    async def cancel(self, prompt_id: str, *, timeout: float = 10.0) -> bool:
        """Stop exactly that prompt; whether it is off the engine after `timeout` seconds."""
        return await self._connected()[1].cancel(prompt_id, timeout=timeout)

    async def free(self) -> None:
        """Let it give up its models and what it remembers (`ComfyClient.free`)."""
        await self._connected()[0].free()

    async def clean(self, run_folder: str) -> None:
        """Remove what the run left (`RunFiles.clean`)."""
        await asyncio.to_thread(self._files().clean, run_folder)

    @property
    def _root(self) -> Path:
        """Where the folders of this life are."""
        return self._life.root if self._life is not None else self.base_dir

    def _files(self) -> RunFiles:
        """Return what reaches them."""
        if self._life is None:
            raise EngineUnreachable("The engine does not run; start it first.")
        return self._life.files

    async def _bring_up(self, on_boot: OnBoot | None) -> ComfyClient:
        """Fork an engine where that is possible, else boot one; return how it is reached."""
        home = self._home
        secret = secrets.token_urlsafe(32)
        self._life = await asyncio.to_thread(home.new_life)
        if home.can_fork:
            try:
                return await self._fork(self._life, secret, on_boot)
            except EngineError as failure:
                log.warning("an engine could not be forked, so one is booted", reason=str(failure))
                if self._process is not None:
                    await self._process.kill()
                    self._process = None
                await self._leave_life()
                self._life = await asyncio.to_thread(home.new_life)
        if self.settings.enclosed:
            return await self._boot_on_socket(self._life, secret, on_boot)
        return await self._boot_on_port(self._life, secret, on_boot)

    async def _fork(self, life: Life, secret: str, on_boot: OnBoot | None) -> ComfyClient:
        listening = self._socket = ListeningSocket(self.base_dir / "sockets")
        forks = self._home.forks
        forked = self._process = await forks.fork(life, secret, listening, self.log_path)
        client = self._client_on(listening, secret)
        client = await self._until_ready(forked, client, on_boot, seconds=forks.ready_seconds)
        try:
            await forks.require_held(forked)
            await forks.require_parity(client)
        except EngineError:
            await client.close()
            raise
        return client

    async def _boot_on_socket(self, life: Life, secret: str, on_boot: OnBoot | None) -> ComfyClient:
        home = self._home
        listening = self._socket = ListeningSocket(self.base_dir / "sockets")
        process = await home.booted(life, secret, listening.fileno(), self.log_path)
        self._process = process
        return await self._until_ready(process, self._client_on(listening, secret), on_boot)

    async def _boot_on_port(self, life: Life, secret: str, on_boot: OnBoot | None) -> ComfyClient:
        """Start the process, again where another process was faster to take its port."""
        for tries_left in reversed(range(_PORT_TRIES)):
            port = free_port()
            process = self._process = await self._home.booted(life, secret, None, self.log_path, port=port)
            client = self._client_at(f"http://127.0.0.1:{port}", secret)
            try:
                return await self._until_ready(process, client, on_boot)
            except EngineStartFailed:
                if "ddress already in use" not in process.log_tail() or not tries_left:
                    raise
                await process.kill()
        raise AssertionError("the last try returns or raises")

    async def _until_ready(
        self, process: Started, client: ComfyClient, on_boot: OnBoot | None, *, seconds: float | None = None
    ) -> ComfyClient:
        try:
            await until_ready(process, client, seconds or self.settings.boot_seconds, self.log_path, on_boot)
        except BaseException:
            await client.close()
            raise
        if self._socket is not None:
            self._socket.hand_over()
        return client

    def _client_on(self, listening: ListeningSocket, secret: str) -> ComfyClient:
        return self._client_at("http://engine", secret, str(listening.path))

    def _client_at(self, url: str, secret: str, socket_path: str | None = None) -> ComfyClient:
        known = (self.base_dir, self.settings.comfy_dir, home_folder())
        folders = tuple(str(folder) for folder in known if folder is not None)
        return ComfyClient(
            url,
            headers=secret_headers(secret),
            hidden_folders=folders,
            socket_path=socket_path,
            offline=self._home.sandbox.has_lives and not self._home.sandbox.network,
        )

    async def _watch_exit(self, process: EngineProcess | ForkedEngine, session: PromptSession) -> None:
        returncode = await process.wait()
        if self._stopping:
            return
        tail = process.log_tail()
        why = diagnose(returncode, tail, self._killed_because)
        if self._killed_because and self._killed_code is not None:
            why = replace(why, code=self._killed_code)
        log.error("the engine ended", reason=why.text, returncode=returncode, log_tail=tail[-4000:])
        said = f"{why.text} The run is tried again." if why.again else why.text
        self._death = EngineCrashed(said, code=why.code, log_tail=tail, again=why.again)
        session.fail_all(self._death)
        await process.kill()
        await session.close()
        self._gone.set()

    async def _end_when_outdated(self, session: PromptSession, changed: asyncio.Event) -> None:
        """End it, once it has no prompt, when engines are to be held otherwise than it is."""
        await changed.wait()
        while session.in_flight:  # noqa: ASYNC110 (once in the life of an installation)
            await asyncio.sleep(_MEMORY_SECONDS)
        self._killed_because = "Engines are held otherwise from now on, so this one was ended."
        self._killed_code = FailureCode.ENGINE_CRASHED
        await self.kill(self._killed_because)

    async def _watch_memory(self, process: EngineProcess | ForkedEngine) -> None:
        rounds = 0
        while process.running:
            used = process.memory_bytes(children=rounds % _CHILDREN_EVERY == 0)
            if used > self._limit:
                self._killed_because = (
                    f"The engine used {used / 2**30:.1f} GiB of memory, more than its limit of "
                    f"{self._limit / 2**30:.1f} GiB, and was ended."
                )
                await process.kill()
                return
            if rounds % _DISK_EVERY == 0 and (full := await self._is_disk_full()):
                self._killed_because, self._killed_code = full, FailureCode.ENGINE_CRASHED
                await process.kill()
                return
            rounds += 1
            await asyncio.sleep(_MEMORY_SECONDS)

    async def _is_disk_full(self) -> str | None:
        """Return why this engine has to end for what it wrote, if it has."""
        life, most = self._life, self._home.disk_limit
        if life is None:
            return None
        try:
            usage = await asyncio.to_thread(life.files.usage)
        except OSError as error:
            log.warning("what an engine writes cannot be looked at", reason=str(error))
            return None
        if usage.size_bytes <= most and usage.is_whole:
            return None
        if usage.size_bytes <= most:
            return (
                f"The engine made more files, or deeper folders, than can be looked at ({usage.entries} of them), and "
                "was ended. Let the workflow write fewer files."
            )
        return (
            f"The engine wrote {usage.size_bytes / 2**30:.1f} GiB in {usage.entries} files, more than the "
            f"{most / 2**30:.1f} GiB that it may, and was ended. Set RUNFLOW_ENGINE_DISK_BYTES if it needs more."
        )

    async def _end(self) -> None:
        session, client, process = self._session, self._client, self._process
        self._session = self._client = None
        # One without work holds nothing that a goodbye would save, and takes a second or more for it.
        busy = session is not None and session.in_flight > 0
        if session is not None:
            await session.close()
        if client is not None:
            await client.close()
        if process is not None:
            await process.stop(patience=self.settings.patience if busy else 0.0)
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        self._process = None
        await self._leave_life()
        if self._has_own_home:
            await self._home.close()
        self._gone.set()

    async def _leave_life(self) -> None:
        """Leave nothing of an engine that has ended."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._life is not None:
            life, self._life = self._life, None
            await asyncio.to_thread(self._home.end_life, life)

    def _connected(self) -> tuple[ComfyClient, PromptSession]:
        if self._death is not None:
            raise self._death
        if self._client is None or self._session is None:
            raise EngineUnreachable("The engine does not run; start it first.")
        return self._client, self._session
