"""The worker: registers, keeps its engines running, takes leases while there is room, and leaves cleanly."""

import asyncio
import contextlib
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import structlog

from runflow.outgoing import GuardedClient
from runflow.protocol.completions import Completion, Next
from runflow.protocol.failures import Failure, FailureCode, Stage
from runflow.protocol.workers import PROTOCOL_VERSION, Gpu, Registered, Registration
from runflow.tls import trusting
from runflow.worker.abilities.gpu import NO_GPU, as_declared, gpu_from
from runflow.worker.abilities.registration import Registrar, engine_on_wire, no_folders
from runflow.worker.attempts.attempt import Attempt
from runflow.worker.attempts.context import Stop, WorkerContext
from runflow.worker.attempts.execute import Executor
from runflow.worker.attempts.expected_outputs import ExpectedOutputs
from runflow.worker.attempts.heartbeat import HeartbeatTiming
from runflow.worker.attempts.lease import Lease
from runflow.worker.attempts.prepare import Fetching
from runflow.worker.clock import CLOCK
from runflow.worker.concurrency import SLOW_LIMIT, UNFINISHED_LIMIT, Declined, Prefetch
from runflow.worker.engine.base import Engine
from runflow.worker.pool.engine_pool import EnginePool
from runflow.worker.pool.engine_supervisor import STARTING, EngineState, EngineStatus
from runflow.worker.prebuilds import Prebuilds
from runflow.worker.runtimes import WorkerRuntimes
from runflow.worker.server_api.connection import Connection, ServerRefused, ServerUnavailable, Superseded, Unregistered
from runflow.worker.server_api.retry import Backoff, until_answered
from runflow.worker.settings import Isolation, WorkerSettings
from runflow.worker.store.content import ContentStore
from runflow.worker.store.known_hashes import KnownHashes
from runflow.worker.store.models import ModelFetcher
from runflow.worker.store.own_models import OwnModels
from runflow.worker.store.resources import ResourceCache

log = structlog.get_logger()

_FIRST_BEAT_SECONDS = 1.0
_BEAT_SECONDS = 2.0
"""More often than the lease needs: the answer carries cancellation, and what computes in vain is paid for."""
_DECLINED_SECONDS = 2.0
"""How long the server is asked for a run of some domains only: then there may be room for the others again."""
_HEAD_START_SECONDS = 0.001
"""A run that has come is on its way to the engine before the next is asked for: its caller waits for it."""


class Agent:
    """One life of a worker. `find_engine` returns a new engine, not started, or raises `NoEngine`.

    `gpu` is what the registration says before an engine has been asked about its device. `only_we_write` tells whether
    no engine can write to the models that it finds. `on_registered` is told what the server answers. `model_folders`
    returns those that engines in a sandbox see beside ComfyUI's own. `runtimes`: where versions that need another
    ComfyUI find it, None: nowhere.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        find_engine: Callable[[], Engine],
        *,
        gpu: Gpu = NO_GPU,
        only_we_write: Callable[[], bool] = lambda: False,
        on_registered: Callable[[Registered], None] = lambda _: None,
        model_folders: Callable[[], Awaitable[tuple[Path, ...]]] = no_folders,
        runtimes: WorkerRuntimes | None = None,
    ) -> None:
        self._settings = settings
        self._on_registered = on_registered
        self._several: bool | None = None
        self._instance = uuid.uuid4()
        self._store = ContentStore(
            settings.store or settings.home / "store", limit_bytes=settings.store_bytes, is_safe=only_we_write
        )
        self._own = OwnModels(settings.comfyui_dir, KnownHashes(self._store.folder / "own-models.jsonl"), model_folders)
        self._registrar = Registrar(settings, folders=model_folders, own=self._own)
        self._gpu = as_declared(settings.gpu, gpu)
        single_use = settings.isolation is Isolation.RUN
        self._runtimes = runtimes
        self._engines = EnginePool(
            find_engine,
            self._engine_changed,
            settings.limits,
            single_use=single_use,
            find_of=runtimes.engine if runtimes is not None else None,
        )
        self._prefetch = Prefetch()
        self._expected = ExpectedOutputs()
        self._declined = Declined(settings.limits.hold)
        self._executor = Executor(self._engines, self._prefetch, settings.limits, settings.isolation)
        self._attempts: dict[asyncio.Task[None], Attempt] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Event()
        self._changed.set()
        self._registered: EngineState | None = None
        self._wake = asyncio.Event()
        self._free = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._timing = HeartbeatTiming(patience=settings.patience)
        self._poll_seconds = 25.0

    def stop(self) -> None:
        """Leave: no new runs, give back what has not begun. Called again: leave at once."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        """Work until `stop`. Raises `ServerRefused` where the server will not have this worker, `Superseded` where
        another process has its name.
        """
        settings = self._settings
        staging = settings.home / "staging"
        cache = await asyncio.to_thread(self._make_folders)
        async with (
            GuardedClient(
                settings.allowed_networks,
                settings.allowed_origins,
                ssl_context=trusting(httpx.create_ssl_context(), settings.ca_file),
            ) as outgoing,
            Connection(
                settings.server, settings.token, instance=self._instance, ca_file=settings.ca_file
            ) as connection,
        ):
            models = ModelFetcher(
                self._store,
                self._own,
                outgoing,
                credentials=settings.credentials,
                allow_pickle=settings.allow_pickle,
                most_bytes=settings.model_limit,
                huggingface=settings.huggingface_endpoint,
            )
            fetching = Fetching(
                connection, outgoing, cache, models, settings.patience, settings.input_limit, settings.input_timeout
            )

            def context() -> WorkerContext:
                return WorkerContext(
                    connection,
                    self._executor,
                    fetching,
                    self._timing,
                    staging,
                    self._expected,
                    self._runtimes,
                    room=self._room,
                    take=lambda lease: self._take(lease, connection, context()),
                )

            keeping = asyncio.create_task(self._engines.run(), name="engines")
            registering = asyncio.create_task(self._keep_registered(connection), name="registration")
            polling = asyncio.create_task(self._poll(connection, context), name="lease poll")
            tidying = asyncio.create_task(models.keep_tidy(), name="tidy models")
            hashing = asyncio.create_task(self._read_own_models(), name="read models")
            prebuilds = Prebuilds(
                connection,
                self._runtimes,
                models,
                may_ask=self._may_prepare,
                takes_models=lambda: self._executor.takes_models,
                free=self._free,
                patience=settings.patience,
            )
            preparing = asyncio.create_task(prebuilds.run(), name="prebuilds")
            idling = asyncio.create_task(self._tidy_runtimes(), name="tidy runtimes")
            stopping = asyncio.create_task(self._stopping.wait(), name="stop")
            try:
                done, _ = await asyncio.wait(
                    {keeping, registering, polling, stopping}, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done - {stopping}:
                    if isinstance(task.exception(), Superseded):
                        self._hurry.set()  # what it has is others' now
                    task.result()
            finally:
                await _cancel(polling, stopping, hashing, tidying, idling, preparing)
                await self._finish_attempts()
                await _cancel(registering, *self._background)
                await self._engines.stop()
                await _cancel(keeping)

    def _may_prepare(self) -> bool:
        """Whether there is nothing else to do, and an engine of the worker's own that something can be prepared for."""
        return self._is_ready and not self._attempts and (self._runtimes is not None or self._executor.takes_models)

    async def _tidy_runtimes(self) -> None:
        if self._runtimes is not None:
            await self._runtimes.keep_tidy(lambda: self._engines.runtimes)

    async def _read_own_models(self) -> None:
        """Find out what the operator's own models hold; an attached engine's are none of ours."""
        if self._settings.comfyui_url is not None:
            return
        try:
            await self._own.keep_reading()
        except* OSError as errors:
            reason = str(errors.exceptions[0])
            log.warning("The operator's models are no longer read before a run needs them.", reason=reason)

    def _make_folders(self) -> ResourceCache:
        home = self._settings.home
        shutil.rmtree(home / "staging", ignore_errors=True)
        shutil.rmtree(home / "models", ignore_errors=True)  # where models lay before there was a store for the machine
        home.mkdir(parents=True, exist_ok=True)
        cache = ResourceCache(home / "resources")
        cache.prune()
        return cache

    def _engine_changed(self, state: EngineState) -> None:
        description = state.description
        if description is not None:
            found = gpu_from(description.device_type, description.device_name, description.memory_bytes)
            self._gpu = as_declared(self._settings.gpu, found)
            log.info("Using an engine.", kind=description.kind.value, isolation=description.isolation)
        elif state.detail == STARTING:
            log.info(STARTING)
        else:
            log.info("No engine yet." if state.status is EngineStatus.NO_ENGINE else "Engine down.", why=state.detail)
        self._changed.set()
        self._wake.set()
        self._free.set()

    async def _keep_registered(self, connection: Connection) -> None:
        """Register, and again whenever the engine's state changed or the server forgot us."""
        while True:
            await self._registrar.until_changed(self._changed)
            self._changed.clear()
            told = self._engines.state

            async def register() -> Registered:
                nonlocal told
                told = self._engines.state
                return await self._registrar.register(connection, self._registration(told), told.description)

            answer = await until_answered(register, what="registration", seconds=float("inf"))
            self._several = answer.several_organizations
            self._on_registered(answer)
            self._poll_seconds = float(answer.poll_seconds)
            self._timing = HeartbeatTiming(
                first=min(_FIRST_BEAT_SECONDS, answer.offer_seconds / 4),
                every=min(_BEAT_SECONDS, answer.lease_seconds / 4),
                patience=self._settings.patience,
            )
            self._registered = told
            self._free.set()
            log.info("Registered.", worker_id=str(answer.worker_id), status=told.status.value)
            self._wake.set()

    def _registration(self, state: EngineState) -> Registration:
        return Registration(
            protocol_version=PROTOCOL_VERSION,
            instance=self._instance,
            name=self._settings.name,
            gpu=self._gpu,
            labels=self._settings.labels,
            status=state.status.value,
            status_detail=state.detail,
            engine=engine_on_wire(state.description) if state.description is not None else None,
        )

    def _may_ask(self) -> bool:
        """Whether there is room for one more run, and the server knows that we are ready for it."""
        held = [attempt for attempt in self._attempts.values() if not attempt.is_slow]
        ahead = sum(not attempt.has_executed or attempt.asks for attempt in held)
        return self._is_ready and ahead < self._prefetch.ahead and len(held) < UNFINISHED_LIMIT

    def _room(self) -> Next | None:
        """What a completion asks for, whose own place is free by then; None where no run is wanted."""
        if not self._is_ready or self._stopping.is_set():
            return None
        return Next(
            warm=self._executor.warm_engines,
            idle=self._is_idle,
            expected=self._expected.expected,
            several_organizations=self._several,
            without=self._without,
        )

    @property
    def _without(self) -> list[str]:
        """The domains of which no run is wanted: one that takes long to come would have to be given back again."""
        if sum(attempt.is_slow for attempt in self._attempts.values()) < SLOW_LIMIT:
            self._declined.clear()
        return self._declined.domains

    @property
    def _is_idle(self) -> bool:
        """Whether nothing is left to execute, but for runs whose files take long to come."""
        return all(attempt.has_executed or attempt.is_slow for attempt in self._attempts.values())

    @property
    def _is_ready(self) -> bool:
        return (
            self._registered is not None
            and self._registered.status is EngineStatus.READY
            and self._engines.state.status is EngineStatus.READY
            and not self._executor.congested
        )

    async def _poll(self, connection: Connection, context: Callable[[], WorkerContext]) -> None:
        """Ask for a run whenever there is room. The next request waits at the server while runs execute here."""
        backoff = Backoff()
        while True:
            while not self._may_ask():
                self._wake.clear()
                await self._wake.wait()
            declined = self._without
            try:
                lease = await connection.lease(
                    wait_seconds=min(self._poll_seconds, _DECLINED_SECONDS) if declined else self._poll_seconds,
                    warm=self._executor.warm_engines,
                    idle=self._is_idle,
                    expected=self._expected.expected,
                    several_organizations=self._several,
                    without=declined,
                )
            except Unregistered:
                self._registered = None
                self._changed.set()
                await asyncio.sleep(backoff.delay())
            except ServerUnavailable as trouble:
                delay = backoff.delay()
                log.warning("The server does not answer.", reason=str(trouble), again_in_seconds=round(delay, 2))
                await asyncio.sleep(delay)
            else:
                backoff.reset()
                if lease is not None:
                    self._take(lease, connection, context())
                    await asyncio.sleep(_HEAD_START_SECONDS)

    def _take(self, data: dict[str, Any], connection: Connection, context: WorkerContext) -> None:
        try:
            lease = Lease.read(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.exception("The server sent a run that cannot be read.", lease_id=data.get("id"))
            self._spawn(_refuse(connection, str(data.get("id")), error))
            return
        if not self._attempts:
            CLOCK.set()
        self._executor.warmth.took(lease)
        attempt = Attempt(lease, context, self._progressed)
        task = asyncio.create_task(attempt.run(), name=f"run {lease.run_id}")
        self._attempts[task] = attempt
        if self._stopping.is_set():
            attempt.stop(Stop.SHUTDOWN)  # it came with the answer to a completion: back it goes
        task.add_done_callback(self._done)

    def _progressed(self) -> None:
        """A run leaves room for others; of too many that wait for their files, whose domain has most gives one back."""
        slow = [attempt for attempt in self._attempts.values() if attempt.is_slow]
        if len(slow) > SLOW_LIMIT:
            counts = Counter(attempt.lease.domain for attempt in slow)
            # Among domains with as many, too, it is the newest: the others are nearer their end.
            newest = max(reversed(slow), key=lambda attempt: counts[attempt.lease.domain])
            newest.stop(Stop.GIVEN_BACK)
            self._declined.add(newest.lease.domain)
        self._wake.set()

    def _done(self, task: "asyncio.Task[None]") -> None:
        attempt = self._attempts.pop(task)
        self._executor.warmth.gone(attempt.lease)
        self._free.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("A run ended in a fault.", lease_id=attempt.lease.id, exc_info=task.exception())
        self._wake.set()

    async def _finish_attempts(self) -> None:
        """Give back what has not begun, let the rest finish for a while, then end it; at last leave without a word."""
        for attempt in self._attempts.values():
            if not attempt.has_begun:
                attempt.stop(Stop.SHUTDOWN)
        await self._wait_for_attempts()
        for attempt in self._attempts.values():
            attempt.stop(Stop.SHUTDOWN)
        await self._wait_for_attempts()
        for attempt in self._attempts.values():
            attempt.abandon()
        await asyncio.gather(*self._attempts, return_exceptions=True)

    async def _wait_for_attempts(self) -> None:
        hurry = asyncio.create_task(self._hurry.wait())
        until = time.monotonic() + self._settings.grace
        try:
            while self._attempts and not hurry.done() and (left := until - time.monotonic()) > 0:
                await asyncio.wait({*self._attempts, hurry}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurry.cancel()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def _refuse(connection: Connection, lease_id: str, error: Exception) -> None:
    failure = Failure(
        FailureCode.INTERNAL,
        Stage.PREPARE,
        "The worker could not read the run that the server sent. Install the same Runflow release on both.",
        details={"reason": type(error).__name__},
    )
    with contextlib.suppress(ServerRefused, ServerUnavailable):
        await connection.complete(lease_id, Completion(**connection.caller, result="failed", error=failure))


async def _cancel(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
