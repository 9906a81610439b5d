import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import make_url
from typer.testing import CliRunner

from runflow.background import Background
from runflow.cli.worker import app
from runflow.installation import Installation
from runflow.master_key import MasterKey
from runflow.settings import Settings
from runflow.supervisor import Listen, Supervisor
from runflow.web.services import Services
from runflow.worker.settings import SUPERSEDED_EXIT_CODE, WorkerSettings
from tests.support.fake_server import TOKEN, FakeServer


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    server = FakeServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    return file


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "needs a token"),
        (["--engine-user", "somebody"], "user id"),
        (["--comfyui", "/x", "--comfyui-url", "http://x"], "not both"),
        (["--label", "rack"], "KEY=VALUE"),
        (["--gpu", "L40S:much"], "number of GiB"),
        (["--gpu", "L40S, A100"], "CODE:GiB"),
    ],
)
def test_bad_options_are_explained(
    arguments: list[str], said: str, tmp_path: Path, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNFLOW_HOME", str(tmp_path))
    monkeypatch.setattr("runflow.cli.worker.hide_memory", lambda: None)
    token = [] if said == "needs a token" else ["--token-file", str(token_file)]
    result = CliRunner().invoke(app, ["--server", "http://127.0.0.1:1", *token, *arguments])
    assert result.exit_code == 1
    assert said in result.output
    assert TOKEN not in result.output


@pytest.mark.parametrize(
    ("arguments", "variable", "used"),
    [([], None, "organization"), ([], "worker", "worker"), (["--isolation", "run"], "worker", "run")],
)
def test_whose_runs_share_an_engine_is_an_option_or_a_variable(
    arguments: list[str],
    variable: str | None,
    used: str,
    tmp_path: Path,
    token_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUNFLOW_HOME", str(tmp_path))
    if variable is not None:
        monkeypatch.setenv("RUNFLOW_ISOLATION", variable)
    monkeypatch.setattr("runflow.cli.worker.hide_memory", lambda: None)
    given: list[WorkerSettings] = []
    monkeypatch.setattr("runflow.cli.worker._run", lambda _settings, worker, **_: given.append(worker))
    options = ["--server", "http://127.0.0.1:1", "--token-file", str(token_file), *arguments]
    assert CliRunner().invoke(app, options).exit_code == 0
    assert [one.isolation for one in given] == [used]


def test_an_unknown_isolation_is_refused_with_the_known_ones(token_file: Path) -> None:
    options = ["--server", "http://127.0.0.1:1", "--token-file", str(token_file), "--isolation", "tenant"]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 2
    assert all(one in result.output for one in ("run", "organization", "worker"))


def start(server: FakeServer, home: Path, *arguments: str, **more: str) -> "subprocess.Popen[bytes]":
    settings = {"RUNFLOW_HOME": str(home), "RUNFLOW_WORKER_TOKEN": TOKEN, "RUNFLOW_COMFYUI": str(home / "no")}
    return subprocess.Popen(
        [sys.executable, "-m", "runflow", "worker", "--server", server.url, "--name", "box", *arguments],
        env={**os.environ, **settings, **more},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


async def ended(process: "subprocess.Popen[bytes]") -> bytes:
    """Wait for the end of a worker; return what it printed."""
    with process:
        output, _ = await asyncio.to_thread(process.communicate, timeout=60)
    return output


@pytest.mark.usefixtures("hears_hangups")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, None])
async def test_a_worker_registers_and_leaves_when_told_or_orphaned(
    server: FakeServer, tmp_path: Path, how: signal.Signals | None
) -> None:
    process = start(server, tmp_path, "--label", "rack=3", "--die-with-parent")
    await server.until(lambda: server.registrations and server.registrations[-1]["status"] == "no_engine")
    registration = server.registrations[-1]
    assert (registration["name"], registration["labels"]) == ("box", {"rack": "3"})
    assert "runflow comfyui install" in registration["status_detail"]
    if how is not None:
        process.send_signal(how)
    # Closes standard input, which is the parent's end, and waits.
    output = await ended(process)
    assert process.returncode == 0
    assert TOKEN.encode() not in output


async def test_a_refused_token_ends_the_worker_with_the_servers_reason(server: FakeServer, tmp_path: Path) -> None:
    server.faults["registrations"].append(401)
    process = start(server, tmp_path)
    output = await ended(process)
    assert process.returncode == 1
    assert b"refuses this worker" in output
    assert TOKEN.encode() not in output


async def test_a_worker_whose_name_another_process_has_says_so_once(server: FakeServer, tmp_path: Path) -> None:
    server.faults["registrations"].append(409)
    process = start(server, tmp_path)
    output = await ended(process)
    assert process.returncode == SUPERSEDED_EXIT_CODE
    assert output.count(b"works under the name 'box' now") == 1


async def test_an_address_that_is_none_is_explained(server: FakeServer, tmp_path: Path) -> None:
    process = start(server, tmp_path, "--server", "localhost:8700")
    output = await ended(process)
    assert process.returncode == 1
    assert b"Give --server as http" in output
    assert TOKEN.encode() not in output


STUCK = """
import pathlib, time
import runflow.worker.pool.engine_choice as choice

class Stuck(choice.EngineFinder):
    def __call__(self):
        if not (was := pathlib.Path({marker!r})).exists():
            was.touch()
            time.sleep(600)
        return super().__call__()

choice.EngineFinder = Stuck
"""


@pytest.fixture
def stuck_once(tmp_path: Path) -> dict[str, str]:
    """The environment of a worker whose first life stops its own event loop as it looks for an engine."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(STUCK.format(marker=str(tmp_path / "was-stuck")))
    return {"PYTHONPATH": str(tmp_path / "site"), "RUNFLOW_WORKER_HANG_SECONDS": "3", "RUNFLOW_LOG_FORMAT": "json"}


async def test_a_worker_whose_event_loop_stands_still_is_started_again(
    server: FakeServer, tmp_path: Path, stuck_once: dict[str, str]
) -> None:
    process = start(server, tmp_path, **stuck_once)
    await server.until(lambda: server.registrations and server.registrations[-1]["status"] == "no_engine")
    process.terminate()
    output = await ended(process)
    assert process.returncode == 0
    (told,) = [json.loads(line) for line in output.splitlines() if b"stands still and is ended" in line]
    assert "sitecustomize.py" in told["stacks"]
    assert TOKEN.encode() not in output


async def test_runflow_up_keeps_a_worker_whose_event_loop_stands_still(
    server: FakeServer,
    tmp_path: Path,
    token_file: Path,
    master_key: MasterKey,
    stuck_once: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in stuck_once.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RUNFLOW_COMFYUI", str(tmp_path / "no"))
    installation = Installation(Settings(home=tmp_path), master_key, make_url("postgresql://x"), None)
    supervisor = Supervisor(installation, Listen("127.0.0.1", 0), worker=True, ready=lambda _: None)
    nobody = cast(Services, None)  # asked only who else has the worker's name
    keep = supervisor._keeping_worker(nobody, server.url, token_file, Background().watch("the worker", 60.0))
    keeping = asyncio.ensure_future(keep())
    try:
        await server.until(lambda: server.registrations and server.registrations[-1]["status"] == "no_engine")
        assert (tmp_path / "was-stuck").exists()
    finally:
        supervisor._stopping.set()
        await keeping
