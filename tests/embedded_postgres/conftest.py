"""Real servers in homes of their own; everything is stopped and removed again."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from runflow.embedded_postgres import ConnectionInfo, EmbeddedPostgres
from runflow.embedded_postgres.location import recorded

SOURCE = Path(__file__).parents[2] / "src"
DRIVER = Path(__file__).with_name("owner_process.py")
PLAIN_UID = 65534  # nobody: a name in every /etc/passwd, which initdb insists on


def _wait_until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Return the first true value of `condition`; fail when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.02)


def _server_processes(data: Path) -> list[psutil.Process]:
    """Find every live process of a server on `data` by an independent sign: its working folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(data):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


class OwnerProcess:
    """The driver in another process, as this user or as a plain one."""

    def __init__(self, home: Path, python: str = sys.executable, uid: int | None = None) -> None:
        packages = Path(psutil.__file__).parents[1]
        options: dict[str, Any] = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
        self.process = subprocess.Popen(
            [python, str(DRIVER), str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{SOURCE}:{packages}", "HOME": "/nonexistent"},
            **options,
        )

    def answer(self) -> dict[str, Any]:
        """Return the next line it said."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the process ended with {self.process.wait()}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, command: str) -> dict[str, Any]:
        """Send one command and return the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def kill(self) -> None:
        """End it the hard way."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it if it still lives, and close the pipes."""
        if self.process.poll() is None:
            self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def launch() -> Iterator[Callable[..., OwnerProcess]]:
    """Start driver processes that do not outlive the test."""
    started: list[OwnerProcess] = []

    def start(*arguments: Any, **options: Any) -> OwnerProcess:
        started.append(OwnerProcess(*arguments, **options))
        return started[-1]

    yield start
    for owner in started:
        owner.close()


def _parent_of_homes() -> Path:
    # A kill loses nothing that was written, so memory will do where there is enough, and saves making each data folder
    # durable. Both places can be entered by every user; pytest's own folders cannot.
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 2**30 else Path("/tmp")


def _new_folder(mode: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="rf-test-", dir=_parent_of_homes()))
    folder.chmod(mode)
    return folder


def _remove_home(home: Path) -> None:
    location = recorded(home)[0] if home.is_dir() else None
    if location is not None:
        _wait_until(lambda: not _server_processes(location.data))
        EmbeddedPostgres(home).erase()
    shutil.rmtree(home.parent, ignore_errors=True)


@pytest.fixture
def home() -> Iterator[Path]:
    """Yield a home that does not exist yet, in a folder that everybody may pass (in memory where possible)."""
    parent = _new_folder(0o711)
    yield parent / "home"
    _remove_home(parent / "home")


@pytest.fixture
def closed_home() -> Iterator[Path]:
    """Yield a home that does not exist yet, in a folder that only this user may pass."""
    parent = _new_folder(0o700)
    yield parent / "home"
    _remove_home(parent / "home")


@pytest.fixture(scope="session")
def _made_home() -> Iterator[Path]:
    parent = _new_folder(0o711)
    server = EmbeddedPostgres(parent / "home")
    server.start()
    server.stop()
    yield parent / "home"
    _remove_home(parent / "home")


@pytest.fixture
def made_home(_made_home: Path) -> Iterator[Path]:
    """Yield a home whose database was made before; each test leaves it stopped and startable."""
    yield _made_home
    location = recorded(_made_home)[0]
    _wait_until(lambda: not _server_processes(location.data))


@pytest.fixture(scope="session")
def shared() -> Iterator[EmbeddedPostgres]:
    """Yield one running server for all tests that only look at it."""
    parent = _new_folder(0o711)
    server = EmbeddedPostgres(parent / "home")
    server.start()
    yield server
    server.stop()
    _remove_home(parent / "home")


@pytest.fixture
def info(shared: EmbeddedPostgres) -> ConnectionInfo:
    """Return how to reach the shared server."""
    return shared.start()


@pytest.fixture
def as_root() -> None:
    """Skip where the test needs another uid than ours."""
    if os.geteuid() != 0:
        pytest.skip("only root can start processes under another uid")


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """Return the function that waits for a condition."""
    return _wait_until


@pytest.fixture
def server_processes() -> Callable[..., Any]:
    """Return the function that finds a server's processes."""
    return _server_processes


@pytest.fixture
def plain_python() -> str | None:
    """Return a Python that a plain user may run with our packages, or None."""
    return _plain_python()


@functools.cache
def _plain_python() -> str | None:
    packages = Path(psutil.__file__).parents[1]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            done = subprocess.run(
                [python, "-c", "import psycopg, psutil, structlog, runflow.embedded_postgres"],
                env={"PYTHONPATH": f"{SOURCE}:{packages}"},
                cwd="/",
                user=PLAIN_UID,
                group=PLAIN_UID,
                extra_groups=[],
                capture_output=True,
                check=False,
            )
        except OSError:
            continue
        if done.returncode == 0:
            return python
    return None
