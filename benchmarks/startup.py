"""How long `runflow up` takes until it answers, and until it has stopped, on a home that exists, idle.

The floor of a start is Python importing the libraries that the server is made of; a stop has none.
"""

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.installation import RUNFLOW, wait_ready
from runflow.settings import Settings

LIBRARIES = "import fastapi, sqlalchemy, psycopg, uvicorn, httpx, cryptography"
ENGINE_IS_READY = b"The engine is ready."


def once(home: Path, comfyui: Path) -> tuple[float, float, float]:
    """Start and stop; return the seconds until it is ready, the CPU of the server in them, and those of the stop."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = home / "up.log"
    environment = {**os.environ, "RUNFLOW_HOME": str(home), "RUNFLOW_COMFYUI": str(comfyui)}
    began = time.monotonic()
    with log.open("wb") as output:
        command = [*RUNFLOW, "up", "--port", str(port)]
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    wait_ready(server, f"http://127.0.0.1:{port}/v1/readiness", log, every=0.01)
    start, times = time.monotonic() - began, psutil.Process(server.pid).cpu_times()
    while (comfyui / "main.py").exists() and ENGINE_IS_READY not in log.read_bytes():
        time.sleep(0.1)
    time.sleep(3)  # idle
    began = time.monotonic()
    server.send_signal(signal.SIGINT)
    server.wait(60)
    return start, times.user + times.system, time.monotonic() - began


def floor() -> float:
    """Return the seconds in which Python imports the server's libraries."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", LIBRARIES], check=True)
    return time.monotonic() - began


def show(name: str, values: list[float]) -> None:
    """Print the middle and the most of some seconds."""
    print(f"  {name:32}  {statistics.median(values):5.2f}  {max(values):5.2f}")


def main() -> None:
    """Measure without an engine and, where there is a ComfyUI, with one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"start and stop of `runflow up`: seconds, median and most of {rounds}; load {os.getloadavg()[0]:.1f}")
    show("floor: importing libraries", [floor() for _ in range(rounds)])
    with tempfile.TemporaryDirectory(prefix="runflow-bench-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        once(home, home / "no-comfyui")  # the first start makes the database
        kinds = {"without an engine": home / "no-comfyui", "with an idle engine": Settings().comfyui_dir.absolute()}
        for kind, comfyui in kinds.items():
            taken = [once(home, comfyui) for _ in range(rounds)]
            for number, what in enumerate(("start", "CPU of the start", "stop")):
                show(f"{what} {kind}", [one[number] for one in taken])


if __name__ == "__main__":
    main()
