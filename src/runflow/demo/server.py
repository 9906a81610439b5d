"""The server that the demo talks to: the one that runs already, or one of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from runflow.tls import trusting

START_SECONDS = 600.0
STOP_SECONDS = 40.0


class ServerDidNotStart(Exception):
    """The demo's server ended before it was ready; its log says why."""


def running(home: Path, ca_file: Path | None = None) -> str | None:
    """Return the address of the server that runs on this home, None when there is none that can be trusted."""
    trusted = trusting(httpx.create_ssl_context(), ca_file)
    try:
        address = (home / "server.url").read_text().strip()
        answer = httpx.get(f"{address}/v1/readiness", timeout=5, verify=trusted)
        if answer.status_code == httpx.codes.OK:
            return address
    except (OSError, httpx.HTTPError):
        return None
    return None


def alive(home: Path, ca_file: Path | None = None) -> str | None:
    """Return the address of the server process of this home, also of one that is not ready, or slow; None for none."""
    trusted = trusting(httpx.create_ssl_context(), ca_file)
    try:
        address = (home / "server.url").read_text().strip()
        httpx.get(f"{address}/v1/health", timeout=5, verify=trusted)
    except httpx.ReadTimeout:
        return address
    except (OSError, httpx.HTTPError):
        return None
    return address


@contextlib.contextmanager
def own_server(home: Path, on_key: Callable[[str], None]) -> Iterator[str]:
    """Run `runflow up` on a free port and give its address. Raises `ServerDidNotStart`.

    `on_key` gets the first API key if this is the home's first start: it comes on stdout, and in no log.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log_path = home / "logs" / "demo-server.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "runflow", "up", "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            stderr=log,
            # On loopback, for one picture: a certificate would be for another name.
            env={**os.environ, "RUNFLOW_HOME": str(home), "RUNFLOW_TLS_CERT": "", "RUNFLOW_TLS_KEY": ""},
        )
    address = f"http://127.0.0.1:{port}"
    threading.Thread(target=_read_keys, args=(process, on_key), daemon=True).start()
    try:
        _wait(process, address, log_path)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _read_keys(process: subprocess.Popen[str], on_key: Callable[[str], None]) -> None:
    for line in process.stdout or ():
        if line.startswith("rf_live_"):
            on_key(line.strip())


def _wait(process: subprocess.Popen[str], address: str, log_path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            last = "\n".join(log_path.read_text(errors="replace").splitlines()[-15:])
            raise ServerDidNotStart(f"`runflow up` ended with code {process.returncode}:\n{last}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{address}/v1/readiness", timeout=2).status_code == httpx.codes.OK:
                return
        time.sleep(0.1)
    raise ServerDidNotStart(f"`runflow up` was not ready after {START_SECONDS:.0f} s; see {log_path}.")
