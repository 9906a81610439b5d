"""An installation of its own for a benchmark: `runflow up` on a fresh home, stopped and removed at the end."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil

from runflow.settings import Settings

RUNFLOW = (sys.executable, "-m", "runflow")
_OF_ENGINES = ("main.py", "isolation/enter.py", "forks/server.py")
"""Scripts by which an engine, what waits outside of it, and what it is forked from are told from other processes."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers, and a key for it."""

    url: str
    key: str
    process: psutil.Process
    home: Path

    def parts(self) -> dict[str, list[psutil.Process]]:
        """Return the installation's processes by what they are: server, worker, engine, postgres."""
        found: dict[str, list[psutil.Process]] = {"server": [self.process], "worker": [], "engine": [], "postgres": []}
        for process in self.process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if any(word.endswith(_OF_ENGINES) for word in words):
                    found["engine"].append(process)
                elif "--token-file" in words:
                    found["worker"].append(process)
                elif process.name().startswith("postgres"):
                    found["postgres"].append(process)
        return found

    def engine_socket(self) -> Path:
        """Return the Unix socket of the ComfyUI that the worker runs; of several, the newest."""
        found = sorted(self.home.glob("workers/*/engine/sockets/*"), key=lambda place: place.stat().st_mtime)
        if not found:
            raise RuntimeError("The worker's ComfyUI has no socket in the home.")
        return found[-1]


@contextlib.contextmanager
def installation(*, engine: bool = True, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Start `runflow up` on a home of its own, with the machine's ComfyUI unless `engine` is false.

    `environment` holds further variables for it.
    """
    comfyui = Settings().comfyui_dir if engine else Path("no-comfyui")
    if engine and not (comfyui / "main.py").is_file():
        sys.exit(f"There is no ComfyUI in {comfyui}. Install one with: .venv/bin/runflow comfyui install")
    home = Path(tempfile.mkdtemp(prefix="runflow-bench-"))
    home.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {"RUNFLOW_HOME": str(home), "RUNFLOW_COMFYUI": str(home / comfyui)}
    environment = {**os.environ, **own, **(environment or {})}
    # One key sends all of a benchmark's requests.
    environment["RUNFLOW_RATE_LIMIT"] = "0"
    log = home / "up.log"
    with log.open("wb") as output:
        command = [*RUNFLOW, "up", "--port", str(port)]
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_ready(server, f"{url}/v1/readiness", log)
        command = [*RUNFLOW, "keys", "create", "--name", "bench", "--json"]
        made = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
        yield Running(url, orjson.loads(made.stdout)["key"], psutil.Process(server.pid), home)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
        shutil.rmtree(home, ignore_errors=True)


def wait_ready(server: subprocess.Popen[bytes], url: str, log: Path, *, every: float = 0.1) -> None:
    """Wait until the server is ready, and look `every` so many seconds; ends this process if the server ends."""
    while True:
        if server.poll() is not None:
            sys.exit(f"`runflow up` ended:\n{log.read_text()}")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(every)
