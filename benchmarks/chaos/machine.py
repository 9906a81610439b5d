"""What faults strike: `runflow up` and a second worker, each restarted when it dies, as a service manager does.

The second worker stands for another machine: it has a home and an engine of its own and reaches the server through a
proxy. `runflow up` reaches nothing through one but is reached by the callers through another.
"""

import contextlib
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import psycopg

from benchmarks.chaos.proxy import Proxy
from benchmarks.installation import RUNFLOW
from runflow.embedded_postgres import EmbeddedPostgres

FAR = "far"
LEASE_SECONDS = 4
MAX_CONNECTIONS = 64
RESTART_SECONDS = 0.5
LOOK_SECONDS = 0.1
CLOSE_LOOKS = 100
"""How often it is looked whether anything is left at the end, and ended: what dies may just have started another."""
SLACK_BYTES = 8 * 1024**3
"""How much may be stored before storage is full: the rest of the disk is reserved, so that nobody else's work fails."""


class Hang(Exception):
    """Something that has to happen did not, for as long as a hang is waited for."""


def until(condition: Callable[[], Any], what: str, seconds: float) -> None:
    """Return once `condition` is true; failing network and database count as false. Raises `Hang` after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError, psutil.Error, psycopg.Error, OSError):
            if condition():
                return
        time.sleep(LOOK_SECONDS)
    raise Hang(f"waited {seconds:.0f} s in vain for: {what}")


@dataclass(frozen=True, slots=True)
class Death:
    """An end of the server or of the second worker."""

    name: str
    code: int
    struck: bool
    """Whether a fault had been at work on it, or it had not been up yet."""


class Log:
    """A pipe for a process's stderr, kept in a file until the reader goes away."""

    def __init__(self, file: Path) -> None:
        self._read, self.write = os.pipe()
        self._gone = threading.Event()
        self._file = file
        self._thread = threading.Thread(target=self._keep, daemon=True, name="chaos-log")
        self._thread.start()

    def leave(self) -> None:
        """Close the reading end: from now on every write fails."""
        self._gone.set()
        self._thread.join()

    def _keep(self) -> None:
        with self._file.open("ab", buffering=0) as kept:
            while not self._gone.is_set():
                if select.select([self._read], [], [], 0.05)[0]:
                    block = os.read(self._read, 65536)
                    if not block:
                        break
                    kept.write(block)
        os.close(self._read)


@dataclass
class Service:
    """A process that is started again whenever it ends."""

    name: str
    command: tuple[str, ...]
    environment: Callable[[], dict[str, str]]
    log_file: Path
    process: subprocess.Popen[bytes] | None = None
    log: Log | None = None
    up: bool = False
    """Whether it has worked since it was started."""
    struck: set[int] = field(default_factory=set)
    """Its processes that faults have ended."""

    def start(self) -> None:
        """Start it with a log of its own."""
        self.up = False
        self.log = Log(self.log_file)
        self.process = subprocess.Popen(
            self.command, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=self.log.write,
        )  # fmt: skip
        os.close(self.log.write)

    def root(self) -> psutil.Process:
        """Return its process. Raises psutil.NoSuchProcess."""
        assert self.process is not None
        return psutil.Process(self.process.pid)

    def stop(self, seconds: float) -> int:
        """Stop it as Ctrl-C does; return the exit code. Raises `Hang`."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Hang(f"{self.name} did not stop within {seconds:.0f} s") from None


@dataclass
class Machine:
    """The whole installation, its proxies, and what watches over it."""

    comfyui: Path
    patience: float
    base: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="runflow-chaos-")))
    deaths: list[Death] = field(default_factory=list)
    key: str = ""
    database_url: str = ""
    _stopping: threading.Event = field(default_factory=threading.Event)
    _watcher: threading.Thread | None = None

    def __post_init__(self) -> None:
        """Lay out homes and ports; nothing is started."""
        self.base.chmod(0o755)
        self.home, self.far_home = self.base / "home", self.base / FAR
        for home in (self.home, self.far_home):
            home.mkdir(mode=0o755)
        self.port = _free_port()
        # Past the proxies. Reading the system's authorities for plain HTTP would take a third of a core.
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", verify=False, trust_env=False, timeout=5)
        self.callers, self.far_road = Proxy(self.port), Proxy(self.port)
        self.ballast = self.base / "ballast"
        self.server = Service(
            "the server", (*RUNFLOW, "up", "--port", str(self.port)), self._environment, self.base / "server.log"
        )
        self.far = Service("the second worker", (), lambda: self._environment(self.far_home), self.base / "far.log")

    def start(self) -> None:
        """Start all of it and wait until both workers' engines are ready."""
        self.callers.start()
        self.far_road.start()
        self.server.start()
        until(self._answers, f"readiness; the log is {self.server.log_file}", self.patience)
        postgres = EmbeddedPostgres(self.home)
        self.database_url = postgres.start().url("postgresql")
        postgres.stop()
        self.key = self._made("create", "--name", "chaos")["key"]
        token = self.base / "far.token"
        token.touch(mode=0o600)
        token.write_text(self._made("create-worker", "--name", FAR)["token"])
        self.far.command = (
            *(*RUNFLOW, "worker", "--server", self.far_road.url),
            *("--token-file", str(token), "--name", FAR),
        )
        self.far.start()
        self._watcher = threading.Thread(target=self._watch, daemon=True, name="chaos-watch")
        self._watcher.start()
        until(self.whole, "two workers with engines", self.patience)

    def whole(self) -> bool:
        """Tell whether the server is ready and both workers are there with engines."""
        if not self._answers() or any(self.engine(service) is None for service in (self.server, self.far)):
            return False
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = self._http.get("/v1/workers", headers=headers)
        if answer.status_code != 200:
            return False
        ready = [one for one in answer.json()["items"] if one["online"] and one["status_code"] == "ready"]
        if len(ready) == 2:
            self.server.up = self.far.up = True
        return len(ready) == 2

    def watchdog(self, service: Service) -> psutil.Process | None:
        """Return the process that starts a service's worker again when it ends in a fault."""
        if service is self.far:
            return service.root()
        return _first(service.root().children(), "--die-with-parent")

    def worker(self, service: Service) -> psutil.Process | None:
        """Return the worker process of a service."""
        watchdog = self.watchdog(service)
        return None if watchdog is None else _first(watchdog.children(), "worker")

    def engine(self, service: Service) -> psutil.Process | None:
        """Return the ComfyUI of a service's worker that runs its runs: a forked one where there is one."""
        forked = self._forks(service)
        # Below the fork server comes one that only waits for the engine, and that one's child is the engine.
        return forked[-1] if len(forked) > 2 else _first(self._below_worker(service), "main.py")

    def fork_server(self, service: Service) -> psutil.Process | None:
        """Return the process that a service's engines are forked from."""
        return next(iter(self._forks(service)), None)

    def sandbox(self, service: Service) -> psutil.Process | None:
        """Return the process with which a sandbox, or an engine outside of one, ends."""
        return _first(self._below_worker(service), "enter.py", "launcher.py")

    def _forks(self, service: Service) -> list[psutil.Process]:
        """Return the fork server and what came of it, parents first."""
        return [one for one in self._below_worker(service) if any("forks/server.py" in word for word in _words(one))]

    def _below_worker(self, service: Service) -> list[psutil.Process]:
        worker = self.worker(service)
        return [] if worker is None else list(worker.children(recursive=True))

    def postmaster(self) -> psutil.Process | None:
        """Return PostgreSQL's first process."""
        return _first(self.server.root().children(), "postgres")

    def backend(self, rng: random.Random) -> psutil.Process | None:
        """Return a process of PostgreSQL that serves a connection."""
        postmaster = self.postmaster()
        if postmaster is None:
            return None
        found = [one for one in postmaster.children() if any("[local]" in word for word in _words(one))]
        return rng.choice(found) if found else None

    def processes(self) -> list[psutil.Process]:
        """Return every process of this installation, those of PostgreSQL included."""
        found: dict[int, psutil.Process] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                line, homes = " ".join(process.cmdline()), process.environ().get("RUNFLOW_HOME", "")
                if process.pid != os.getpid() and (str(self.base) in line or homes.startswith(str(self.base))):
                    found[process.pid] = process
                    found |= {child.pid: child for child in process.children(recursive=True)}
        return list(found.values())

    def stop(self) -> list[str]:
        """Stop all as an operator does; return what is wrong about it. Nothing is started again."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
        wrong = []
        for service in (self.far, self.server):
            code = service.stop(self.patience)
            if code != 0:
                wrong.append(f"{service.name} ended with {code} when it was told to stop")
        with contextlib.suppress(Hang):
            # What ended with its parent may still be on its way: the engine's processes get a kill, not a goodbye.
            until(lambda: not self.processes(), "no process left", self.patience)
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                wrong.append(f"process left: {process.pid} {' '.join(_words(process))[:120]}")
        return wrong

    def close(self) -> None:
        """Leave nothing behind, whatever happened."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()  # it may be about to start one of them again
        for _ in range(CLOSE_LOOKS):
            left = self.processes()
            if not left:
                break
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, LOOK_SECONDS)
        for proxy in (self.callers, self.far_road):
            if proxy.port:
                proxy.close()
        self._http.close()
        shutil.rmtree(self.base, ignore_errors=True)

    def restart_server(self, *arguments: str) -> None:
        """Start the server once more after `stop`, with further arguments, and wait until it answers."""
        self.server.command = (*self.server.command, *arguments)
        self.server.start()
        until(self._answers, "readiness after the stop", self.patience)

    def _answers(self) -> bool:
        return self._http.get("/v1/readiness").status_code == 200

    def _watch(self) -> None:
        while not self._stopping.is_set():
            for service in (self.server, self.far):
                assert service.process is not None
                code = service.process.poll()
                if code is not None:
                    by_fault = service.process.pid in service.struck or not service.up
                    self.deaths.append(Death(service.name, code, by_fault))
                    if not self._stopping.wait(RESTART_SECONDS):
                        service.start()
            self._stopping.wait(LOOK_SECONDS)

    def _made(self, *words: str) -> dict[str, str]:
        command = [*RUNFLOW, "keys", *words, "--json"]
        made = subprocess.run(command, env=self._environment(), check=True, stdout=subprocess.PIPE)
        found: dict[str, str] = orjson.loads(made.stdout)
        return found

    def _environment(self, home: Path | None = None) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNFLOW_")}
        free = shutil.disk_usage(self.base).free
        # A ballast that lies there when the server starts goes away later.
        free += self.ballast.stat().st_blocks * 512 if self.ballast.exists() else 0
        settings: dict[str, Any] = {
            "HOME": home or self.home,
            "COMFYUI": self.comfyui,
            "ALLOWED_NETWORKS": "127.0.0.0/8",
            "LEASE_SECONDS": LEASE_SECONDS,
            "MAX_CONNECTIONS": MAX_CONNECTIONS,
            "RATE_LIMIT": 0,
            "STORAGE_RESERVE_BYTES": max(free - SLACK_BYTES, free // 2),
            "LOG_FORMAT": "json",
        }
        return {**kept, **{f"RUNFLOW_{name}": str(value) for name, value in settings.items()}}


def _free_port() -> int:
    with socket.socket() as probe:
        while True:
            # Below those that systems give to outgoing connections, which could else take it while the server is away.
            port = random.randrange(10_000, 32_000)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


def _first(processes: list[psutil.Process], *words: str) -> psutil.Process | None:
    """Return the first process of whose command line a word contains one of these."""
    for process in processes:
        if any(word in one for word in words for one in _words(process)):
            return process
    return None


def _words(process: psutil.Process) -> list[str]:
    try:
        found: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return found
