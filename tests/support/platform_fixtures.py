"""A whole installation in processes of its own: `runflow up` with a real ComfyUI, for the e2e and chaos tiers."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from runflow.client import Runflow
from tests.support.http_server import QuietHandler, serving
from tests.support.plain_user import as_user

TEST_NODES = Path(__file__).parents[1] / "e2e" / "test_nodes.txt"
WORKER = "test-worker"


_GIVEN: set[int] = set()


def free_port() -> int:
    """Return a port that nobody listens on and that no other call of this process got.

    It is below those that systems give to outgoing connections (from 32768 on), which would else take it before the
    server that it is meant for starts.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _GIVEN:
                _GIVEN.add(port)
                return port


def until(condition: Callable[[], Any], what: str, seconds: float = 180) -> Any:
    """Return the first true value of `condition`; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while (began := time.monotonic()) < deadline:
        with contextlib.suppress(httpx.HTTPError, psutil.Error):
            found = condition()
            if found:
                return found
        # Looking through all processes takes as long as a sleep: what is waited for needs the processor more.
        time.sleep(min(0.25, max(0.05, 4 * (time.monotonic() - began))))
    pytest.fail(f"waited {seconds:.0f} s in vain for: {what}")


@dataclass
class Platform:
    """One installation. `start` and `kill` may be called again and again; the home stays."""

    home: Path
    comfyui: Path | None
    port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    uid: int | None = None
    """The user that everything runs as, where the tests are root; the home must be that user's."""
    verify: ssl.SSLContext | bool = False
    """For TLS. Plain HTTP needs none: reading the system's authorities for every look would take a third of a core."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def _env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNFLOW_")}
        comfyui = self.comfyui or self.home / "no-comfyui"
        settings = {"HOME": str(self.home), "COMFYUI": str(comfyui), "ALLOWED_NETWORKS": "127.0.0.0/8"}
        return {**kept, **{f"RUNFLOW_{name}": value for name, value in settings.items()}, **self.environment}

    def _runflow(self, *words: str) -> list[str]:
        command = [sys.executable, "-m", "runflow", *words]
        return command if self.uid is None else as_user(self.uid, command)

    def start(self, stderr: int | None = None) -> None:
        """Start `runflow up` and wait until it is ready; `stderr` is a descriptor other than that of its log."""
        with (self.home / "up.log").open("ab") as log:
            command = self._runflow("up", "--port", str(self.port), *self.arguments)
            self.process = subprocess.Popen(command, env=self._env, stdout=log, stderr=stderr or log)
        until(self.ready, f"readiness; the log is {self.home / 'up.log'}", 300)

    def ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            pytest.fail("`runflow up` ended:\n" + self.log())
        return httpx.get(f"{self.url}/v1/readiness", timeout=5, verify=self.verify).status_code == 200

    def log(self) -> str:
        return "\n".join((self.home / "up.log").read_text(errors="replace").splitlines()[-60:])

    def again(self) -> subprocess.CompletedProcess[str]:
        """Run a second `runflow up` on this home, on a port of its own, to its end."""
        command = [sys.executable, "-m", "runflow", "up", "--port", str(free_port())]
        return subprocess.run(command, env=self._env, capture_output=True, text=True, check=False, timeout=120)

    def second_worker(self, home: Path) -> subprocess.Popen[bytes]:
        """Start another worker with the local one's name and token, on a home of its own."""
        token = str(self.home / "worker.token")
        command = self._runflow("worker", "--server", self.url, "--token-file", token)
        with (home / "worker.log").open("ab") as log:
            environment = {**self._env, "RUNFLOW_HOME": str(home)}
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    @contextlib.contextmanager
    def joined(self, name: str, *options: str, test_nodes: bool = False) -> Iterator[Path]:
        """Have a worker of another name until the end of the block, on a home of its own, which this gives."""
        home = new_home()
        if test_nodes:
            give_test_nodes(home, name)
        made = subprocess.run(
            self._runflow("keys", "create-worker", "--name", name, "--json"),
            env=self._env,
            check=True,
            stdout=subprocess.PIPE,
        )
        token = home / "token"
        token.touch(mode=0o600)
        token.write_text(json.loads(made.stdout)["token"])
        command = self._runflow("worker", "--server", self.url, "--token-file", str(token), "--name", name, *options)
        with (home / "worker.log").open("wb") as log:
            environment = {**self._env, "RUNFLOW_HOME": str(home)}
            process = subprocess.Popen(command, env=environment, cwd=os.sep, stdout=log, stderr=log)
        try:
            yield home
        finally:
            process.terminate()
            process.wait(60)
            shutil.rmtree(home, ignore_errors=True)

    def database_program(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a PostgreSQL program against this home, as for a backup."""
        words = [sys.executable, "-m", "runflow.embedded_postgres", str(self.home), *command]
        return subprocess.run(words, env=self._env, capture_output=True, text=True, check=False, timeout=120)

    def key(self) -> str:
        command = self._runflow("keys", "create", "--name", "test", "--json")
        made = subprocess.run(command, env=self._env, check=True, stdout=subprocess.PIPE)
        return str(json.loads(made.stdout)["key"])

    def processes(self) -> list[psutil.Process]:
        """Every process of this installation: they all have the home in their command line or environment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid == os.getpid():
                    continue
                words = " ".join(process.cmdline())
                if str(self.home) in words or process.environ().get("RUNFLOW_HOME") == str(self.home):
                    found.append(process)
        return found

    def find(self, *words: str) -> psutil.Process | None:
        """Return the process whose command line has all these words."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                line = process.cmdline()
                if all(any(word in part for part in line) for word in words):
                    return process
        return None

    def server(self) -> psutil.Process:
        assert self.process is not None
        return psutil.Process(self.process.pid)

    def worker(self) -> psutil.Process | None:
        return self.find("worker", "--token-file")

    def engine(self) -> psutil.Process | None:
        """The ComfyUI that runs the runs: a booted one, else one that was forked."""
        booted, worker = self.find("main.py", "--port"), self.worker()
        if booted is not None or worker is None:
            return booted
        forks: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            for process in worker.children(recursive=True):
                if any("forks/server.py" in part for part in process.cmdline()):
                    forks.append(process)
        # Below the fork server comes one that only waits for the engine, and that one's child is the engine.
        return forks[-1] if len(forks) > 2 else None

    def postmaster(self) -> psutil.Process | None:
        return self.find("postgres", "-D") or self.find("bin/postgres")

    def kill(self) -> None:
        """kill -9 the server process only."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, number: int = signal.SIGINT) -> int:
        """Stop as Ctrl-C does; return the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


def new_home() -> Path:
    home = Path(tempfile.mkdtemp(prefix="runflow-e2e-"))
    home.chmod(0o755)
    return home


_PACK = "runflow_test_nodes"


def nodes_folder(home: Path, worker: str | None = None) -> Path:
    """The folder of the test nodes: beside the plugin of every engine that will run on this home.

    `worker`: the name of the worker, where that is not the machine's.
    """
    return home / "workers" / (worker or socket.gethostname()) / "engine" / "custom_nodes"


def give_test_nodes(home: Path, worker: str | None = None) -> None:
    """Put the test nodes into their folder.

    With the time of the original: what one installation found out about forks then holds for the next one.
    """
    folder = nodes_folder(home, worker) / _PACK
    folder.mkdir(parents=True)
    shutil.copy2(TEST_NODES, folder / "__init__.py")


def is_held(home: Path, name: str) -> bool:
    """Whether a node that holds a run has said so in its engine's log."""
    said = (place.read_text(errors="replace") for place in nodes_folder(home).parent.glob("engine.log*"))
    return any(f"HOLD {name}" in text for text in said)


def have_plenty(home: Path) -> None:
    """Let nodes that need a large GPU find one, whatever there is."""
    (nodes_folder(home) / _PACK / "plenty").touch()


def let_go(home: Path, name: str) -> None:
    """Let the next try of a held run go through; the one at work holds on."""
    (nodes_folder(home) / _PACK / f"{name}.let-go").touch()


@contextlib.contextmanager
def installation(comfyui: Path | None, kind: type[Platform] = Platform, **more: Any) -> Iterator[Platform]:
    """A started installation that leaves nothing behind."""
    platform = kind(new_home(), comfyui, **more)
    if comfyui is not None:
        give_test_nodes(platform.home)
    try:
        platform.start()
        yield platform
    finally:
        remove(platform)


def remove(platform: Platform) -> None:
    """Stop an installation and leave nothing of it behind."""
    if platform.process is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            platform.stop()
    for process in platform.processes():
        with contextlib.suppress(psutil.Error):
            process.kill()
    shutil.rmtree(platform.home, ignore_errors=True)


@dataclass
class Receiver:
    """A callback target on loopback that keeps what it gets."""

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A target that answers 200."""

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            found.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    with serving(Handler) as base:
        found = Receiver(f"{base}/hook")
        yield found


@pytest.fixture(scope="session")
def platform(comfyui_dir: Path) -> Iterator[Platform]:
    """The session's installation for tests that kill nothing; it takes models."""
    with installation(comfyui_dir, environment={"RUNFLOW_ACCEPT_MODELS": "true"}) as started:
        yield started


@pytest.fixture(scope="session")
def platform_key(platform: Platform) -> str:
    """An API key of the session's installation with every scope."""
    return platform.key()


@pytest.fixture(scope="session")
def api(platform: Platform, platform_key: str) -> Iterator[Runflow]:
    """A client of the session's installation."""
    with Runflow(platform.url, platform_key) as client:
        yield client
