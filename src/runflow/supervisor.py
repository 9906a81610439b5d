"""`runflow up`: database, server and local worker of one machine, started, watched and stopped together."""

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import structlog
import uvicorn
from starlette.types import ASGIApp

from runflow.background import Background, Beat, stop_signals
from runflow.embedded_postgres import EmbeddedPostgres
from runflow.embedded_postgres.errors import EmbeddedPostgresError
from runflow.installation import FirstSteps, Installation, first_steps
from runflow.server import build_services, create_app
from runflow.web.connections import Connections, room_for
from runflow.web.services import Services
from runflow.worker.settings import SUPERSEDED_EXIT_CODE, default_name
from runflow.workers import service as workers

log = structlog.get_logger()

ADDRESS_FILE = "server.url"
"""In the home folder: where the server that runs on it is reached."""

LOOK_AGAIN_SECONDS = 5.0
"""How often it is looked whether the local worker's name is free again."""
WORKER_STOP_SECONDS = 20.0
SERVER_STOP_SECONDS = 3
WATCH_SECONDS = 30.0
"""A watch that looked at nothing for so long stands still (readiness says so)."""
RESTART_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Pause before each restart of a worker that keeps ending; a worker that lived a minute starts from the first again."""


class AddressInUse(Exception):
    """Another program listens at this address already."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the server listens, and with which certificate."""

    host: str
    port: int
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def url(self) -> str:
        """The address to show: a wildcard host is reached as 127.0.0.1."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 - only compared
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.port}"


class _Server(uvicorn.Server):
    """A server that leaves signals to the supervisor."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Supervisor:
    """Runs everything until it is told to stop."""

    def __init__(
        self,
        installation: Installation,
        listen: Listen,
        *,
        worker: bool,
        ready: Callable[[FirstSteps], None],
        gpu: str | None = None,
    ) -> None:
        """`worker`: also run a local worker, of the class `gpu` where that is given (`runflow worker --gpu`).

        `ready` is called once, when requests are answered.
        """
        self._installation = installation
        self._listen = listen
        self._with_worker = worker
        self._gpu = gpu
        self._ready = ready
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGINT or SIGTERM, or until the terminal is closed. Raises `AddressInUse`."""
        loop = asyncio.get_running_loop()
        for number in stop_signals():
            loop.add_signal_handler(number, self._stopping.set)
        outer = _bind(self._listen.host, self._listen.port)
        async with self._installation.database() as db:
            steps = await first_steps(self._installation, db)
            async with build_services(
                self._installation.settings, db, self._installation.key, address=self._listen.url
            ) as services:
                app = create_app(services)
                async with self._serving(app, outer, services.background) as worker_url:
                    address_file = self._installation.settings.home_dir / ADDRESS_FILE
                    address_file.write_text(self._listen.url + "\n")
                    # What was loaded to start lives as long as the process: the collector need not look at it again.
                    gc.collect()
                    gc.freeze()
                    self._ready(steps)
                    async with contextlib.AsyncExitStack() as stack:
                        stack.callback(address_file.unlink, missing_ok=True)
                        keep = services.background.keep
                        if self._installation.postgres is not None and self._installation.postgres.owner:
                            beat = services.background.watch("watch over the database", WATCH_SECONDS)
                            task = asyncio.create_task(keep("watch over the database", self._watching_database(beat)))
                            stack.push_async_callback(_cancelled, task)
                        if self._with_worker:
                            beat = services.background.watch("watch over the worker", WATCH_SECONDS)
                            watching = self._keeping_worker(services, worker_url, steps.worker_token_file, beat)
                            task = asyncio.create_task(keep("watch over the worker", watching))
                            stack.push_async_callback(_finished, task)
                        await self._stopping.wait()
                    services.stop_waiting()

    @contextlib.asynccontextmanager
    async def _serving(self, app: ASGIApp, outer: socket.socket, background: Background) -> AsyncIterator[str]:
        """Serve `app`; gives the address for the local worker (plain HTTP on loopback, also beside TLS)."""
        settings = self._installation.settings
        bounded = [Connections(room_for(settings.max_connections))]
        servers = [(self._server(app, bounded[0], tls=self._listen.tls_cert is not None), outer)]
        worker_url = self._listen.url
        if self._listen.tls_cert is not None:
            inner = _bind("127.0.0.1", 0)
            # Of its own: what comes from outside takes no room from the local worker.
            bounded.append(Connections(settings.max_connections))
            servers.append((self._server(app, bounded[1], tls=False), inner))
            worker_url = f"http://127.0.0.1:{inner.getsockname()[1]}"
        watches = [asyncio.create_task(background.keep("bounds of connections", one.watch)) for one in bounded]
        tasks = [asyncio.create_task(server.serve(sockets=[bound])) for server, bound in servers]
        for task in tasks:
            # One that ends by itself ends the process: a server that does not listen must not look alive.
            task.add_done_callback(lambda _: self._stopping.set())
        try:
            while not all(server.started for server, _ in servers):
                for task in tasks:
                    if task.done():
                        task.result()
                        raise RuntimeError("The HTTP server ended while it was starting.")
                await asyncio.sleep(0.01)
            yield worker_url
        finally:
            for server, _ in servers:
                server.should_exit = True
            await asyncio.gather(*tasks)
            for watch in watches:
                await _cancelled(watch)

    def _server(self, app: ASGIApp, connections: Connections, *, tls: bool) -> _Server:
        proxies = self._installation.settings.proxies
        config = uvicorn.Config(
            app,
            http=cast(type[asyncio.Protocol], connections.protocol()),
            ws="none",
            # What an address says of whom it speaks for counts only where the operator named it.
            proxy_headers=bool(proxies),
            forwarded_allow_ips=proxies,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=SERVER_STOP_SECONDS,
            timeout_keep_alive=75,
            ssl_certfile=self._listen.tls_cert if tls else None,
            ssl_keyfile=self._listen.tls_key if tls else None,
            ssl_version=ssl.PROTOCOL_TLS_SERVER,
        )
        return _Server(config)

    def _watching_database(self, beat: Beat) -> Callable[[], Awaitable[None]]:
        async def watch() -> None:
            """Start PostgreSQL again when it died."""
            postgres = self._installation.postgres
            while postgres is not None:
                await asyncio.sleep(1)
                if not postgres.alive():
                    log.error("postgres is gone, starting it again")
                    await _restart(postgres)
                beat()

        return watch

    def _worker_environment(self) -> dict[str, str]:
        """What the local worker is told besides its arguments: it trusts this server's own certificate."""
        settings = self._installation.settings
        trusted = settings.ca_file or self._listen.tls_cert
        home = {"RUNFLOW_HOME": str(settings.home_dir)}
        return home if trusted is None else {**home, "RUNFLOW_CA_FILE": str(trusted)}

    def _keeping_worker(
        self, services: Services, url: str, token_file: Path, beat: Beat
    ) -> Callable[[], Awaitable[None]]:
        async def keep() -> None:
            """Run the local worker as a process of its own; start it again when it ends."""
            restarts = 0
            while not self._stopping.is_set():
                started = time.monotonic()
                process = await self._start_worker(url, token_file)
                if await self._ends_by_itself(process, beat):
                    if process.returncode == SUPERSEDED_EXIT_CODE:
                        log.error("another process works under the name of the local worker, which waits for its end")
                        while await _is_taken(services) and not await self._stops_within(LOOK_AGAIN_SECONDS):
                            beat()
                        continue
                    restarts = 0 if time.monotonic() - started > 60 else restarts + 1
                    pause = RESTART_SECONDS[min(restarts, len(RESTART_SECONDS) - 1)]
                    log.error("the local worker ended, starting it again", code=process.returncode, pause_seconds=pause)
                    await self._stops_within(pause)

        return keep

    async def _start_worker(self, url: str, token_file: Path) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "runflow", "worker", "--server", url, "--token-file", str(token_file)),
            "--die-with-parent",
            *(() if self._gpu is None else ("--gpu", self._gpu)),
            stdin=subprocess.PIPE,
            env={**os.environ, **self._worker_environment()},
            start_new_session=True,
        )

    async def _ends_by_itself(self, process: asyncio.subprocess.Process, beat: Beat) -> bool:
        """Wait for the worker's end, and tell whether it was its own; end it when we are told to stop, or fail."""
        ended = asyncio.create_task(process.wait())
        stop = asyncio.create_task(self._stopping.wait())
        try:
            while not (ended.done() or stop.done()):
                await asyncio.wait({ended, stop}, timeout=1, return_when=asyncio.FIRST_COMPLETED)
                beat()
            return ended.done()
        finally:
            stop.cancel()
            if not ended.done():
                await _terminate(process)

    async def _stops_within(self, seconds: float) -> bool:
        """Wait for so long; tell whether we were told to stop meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return self._stopping.is_set()


async def _is_taken(services: Services) -> bool:
    """Tell whether another process works under the name of the local worker, as far as can be known."""
    try:
        return await workers.is_connected(services, default_name())
    except Exception as error:
        log.warning("cannot see who has the local worker's name", error=repr(error)[:200])
        return True


async def _terminate(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        try:
            async with asyncio.timeout(WORKER_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            log.warning("the worker did not stop in time, killing it")
            process.kill()
            await process.wait()


async def _restart(postgres: EmbeddedPostgres) -> None:
    try:
        await asyncio.to_thread(postgres.restart)
    except EmbeddedPostgresError as error:
        log.error("postgres does not start", reason=str(error))
        await asyncio.sleep(5)


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _finished(task: "asyncio.Task[None]") -> None:
    await task


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise AddressInUse(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another port with --port, or stop the program "
            "that uses it."
        ) from error
    bound.listen(1024)
    bound.setblocking(False)
    return bound
