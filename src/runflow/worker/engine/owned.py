"""An engine that we start: a ComfyUI folder, a base folder of ours, one process that ends when we do."""

import asyncio
import contextlib
import fcntl
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import structlog

from runflow.worker.engine.base import (
    Ability,
    EngineCrashed,
    EngineDescription,
    EngineError,
    EngineKind,
    EngineStartFailed,
    EngineUnreachable,
    FileMissing,
    OnBoot,
    OutputRef,
)
from runflow.worker.engine.boot import OwnedSettings, engine_process, find_python, secret_headers, until_ready
from runflow.worker.engine.describe import read_description
from runflow.worker.engine.diagnosis import diagnose
from runflow.worker.engine.execution import Execution, OnEvent, Prompt
from runflow.worker.engine.folders import clean_run, copy_input, give_to, inside, prepare_base, relative_path
from runflow.worker.engine.process import EngineProcess, default_limit_bytes, end_leftover, free_port
from runflow.worker.engine.protocol import ComfyClient
from runflow.worker.engine.session import PromptSession

log = structlog.get_logger(__name__)

_PORT_TRIES = 3
_MEMORY_SECONDS = 1.0
_CHILDREN_EVERY = 10
_OWN_ABILITIES = frozenset({Ability.LOCAL_FILES, Ability.OWN_FOLDERS, Ability.KILL, Ability.MEMORY_LIMIT})


class OwnedEngine:
    """One ComfyUI process at a time, started again by `start` after `stop` or a crash."""

    kind = EngineKind.OWNED
    isolates = True
    quick = False

    def __init__(self, settings: OwnedSettings) -> None:
        self.settings = settings
        self.base_dir = settings.base_dir.absolute()
        self._limit = settings.memory_limit_bytes or default_limit_bytes()
        self._lock: IO[bytes] | None = None
        self._process: EngineProcess | None = None
        self._client: ComfyClient | None = None
        self._session: PromptSession | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._abilities: frozenset[Ability] = _OWN_ABILITIES
        self._stopping = False
        self._killed_because: str | None = None
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
    def pid(self) -> int | None:
        """The engine's process id while it runs."""
        return self._process.pid if self._process and self._process.running else None

    @property
    def url(self) -> str:
        """The address of its API, on the loopback interface. Raises EngineError when it does not run."""
        return self._connected()[0].url

    def isolation(self) -> tuple[str, ...]:
        """Return what separates the engine from the worker, and what does not."""
        uid = self.settings.uid
        return (
            "a session and process group of its own, which ends with the worker",
            "a scrubbed environment without any setting or secret of Runflow but the engine's own",
            f"a memory limit of {self._limit / 2**30:.1f} GiB",
            f"user id {uid} of its own"
            if uid
            else "NOT a user of its own: it can read what the worker's user can read",
        )

    async def start(self, on_boot: OnBoot | None = None) -> EngineDescription:
        """Start the process and wait until it answers. Raises EngineStartFailed with the cause and the next step."""
        await self.stop()
        python = find_python(self.settings)
        self._take_base()
        try:
            arguments = await asyncio.to_thread(self._prepare)
            self._stopping, self._killed_because, self._death = False, None, None
            self._gone.clear()
            client = await self._boot(python, arguments, on_boot)
            self._client = client
            description = await read_description(
                client, self.kind, extra_abilities=_OWN_ABILITIES, isolation=self.isolation()
            )
        except BaseException:
            await self._end()
            raise
        self._abilities = description.abilities
        session = PromptSession(client)
        await session.open()
        self._session = session
        process = self._process
        assert process is not None
        self._tasks = [
            asyncio.create_task(self._watch_exit(process, session), name="engine-exit"),
            asyncio.create_task(self._watch_memory(process), name="engine-memory"),
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
        client = self._connected()[0]
        return await read_description(client, self.kind, extra_abilities=_OWN_ABILITIES, isolation=self.isolation())

    def memory_bytes(self) -> int:
        """Return the resident memory of the process, without what it started; 0 when it does not run."""
        return 0 if self._process is None else self._process.memory_bytes(children=False)

    @property
    def log_path(self) -> Path:
        """The file that the engine's own output goes to; the one before it ends in `.log.1`."""
        return self.base_dir / "engine.log"

    @property
    def model_folders(self) -> tuple[Path, ...]:
        """The folder of its own, and that of the ComfyUI that it was started from."""
        return (self.base_dir / "models", self.settings.comfy_dir / "models")

    async def place_input(self, run_folder: str, name: str, path: Path) -> str:
        """Copy a file below the run's folder in input/. Returns the name for a loader node.

        A copy and not a link: custom nodes may write to their inputs, and the file may be other runs' too.
        """
        input_name = f"{relative_path(run_folder)}/{relative_path(name)}"
        await asyncio.to_thread(copy_input, path, self.base_dir / "input", input_name, self.settings.uid)
        return input_name

    def local_output(self, output: OutputRef) -> Path | None:
        """Return where an output lies. Raises FileMissing, EngineError for a place outside of the engine's folders."""
        if output.type not in ("output", "temp", "input"):
            raise EngineError(f"A node reported a file in the unknown folder {output.type!r}.")
        path = inside(self.base_dir / output.type, output.subfolder, output.filename)
        if not path.is_file():
            raise FileMissing(f"The engine has no file {output.filename} in its {output.type} folder.")
        return path

    async def fetch_output(self, output: OutputRef, destination: Path) -> None:
        """Copy an output. Raises FileMissing."""
        path = self.local_output(output)
        assert path is not None
        await asyncio.to_thread(shutil.copyfile, path, destination)

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

    async def clean(self, run_folder: str) -> None:
        """Remove the run's folders from input, output and temp."""
        await asyncio.to_thread(clean_run, self.base_dir, run_folder)

    def _take_base(self) -> None:
        """Lock the base folder, and end what an earlier worker left in it."""
        self.base_dir.mkdir(parents=True, exist_ok=True)
        lock = (self.base_dir / "engine.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise EngineStartFailed(
                f"Another worker's engine uses {self.base_dir}. Stop that worker, or give this one another folder."
            ) from None
        self._lock = lock
        if (pid := end_leftover(self._pid_path)) is not None:
            log.warning("ended an engine that an earlier worker left behind", pid=pid)

    @property
    def _pid_path(self) -> Path:
        return self.base_dir / "engine.pid"

    def _prepare(self) -> list[str]:
        settings = self.settings
        plugin = (settings.plugin_dir or _installed_plugin()) if settings.with_plugin else None
        try:
            arguments = prepare_base(self.base_dir, settings.comfy_dir, plugin)
            if settings.uid is not None:
                give_to(self.base_dir, settings.uid)
        except OSError as error:
            raise EngineStartFailed(
                f"{error.filename or self.base_dir} cannot be written: {error.strerror}."
            ) from error
        return arguments

    async def _boot(self, python: Path, arguments: list[str], on_boot: OnBoot | None) -> ComfyClient:
        """Start the process, again where another process was faster to take its port."""
        for tries_left in reversed(range(_PORT_TRIES)):
            port = free_port()
            secret = secrets.token_urlsafe(32)
            self._process = engine_process(
                self.settings, python, port, arguments, self.log_path, self._pid_path, secret=secret
            )
            await self._process.start(uid=self.settings.uid)
            folders = (str(self.base_dir), str(self.settings.comfy_dir), str(Path.home()))
            client = ComfyClient(f"http://127.0.0.1:{port}", headers=secret_headers(secret), hidden_folders=folders)
            try:
                await until_ready(self._process, client, self.settings.boot_seconds, self.log_path, on_boot)
            except BaseException as error:
                await client.close()
                taken = "ddress already in use" in self._process.log_tail()
                if not isinstance(error, EngineStartFailed) or not taken or not tries_left:
                    raise
                await self._process.kill()
                continue
            return client
        raise AssertionError("the last try returns or raises")

    async def _watch_exit(self, process: EngineProcess, session: PromptSession) -> None:
        returncode = await process.wait()
        if self._stopping:
            return
        tail = process.log_tail()
        why = diagnose(returncode, tail, self._killed_because)
        log.error("the engine ended", reason=why.text, returncode=returncode, log_tail=tail[-4000:])
        self._death = EngineCrashed(f"{why.text} The run is tried again.", code=why.code, log_tail=tail)
        session.fail_all(self._death)
        await process.kill()
        await session.close()
        self._gone.set()

    async def _watch_memory(self, process: EngineProcess) -> None:
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
            rounds += 1
            await asyncio.sleep(_MEMORY_SECONDS)

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
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self._gone.set()

    def _connected(self) -> tuple[ComfyClient, PromptSession]:
        if self._death is not None:
            raise self._death
        if self._client is None or self._session is None:
            raise EngineUnreachable("The engine does not run; start it first.")
        return self._client, self._session


def _installed_plugin() -> Path:
    from runflow.plugin_install import plugin_source

    return plugin_source()
