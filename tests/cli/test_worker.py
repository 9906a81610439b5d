import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runflow.cli.worker import app
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
        (["--server", "localhost:8700"], "http"),
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


def start(server: FakeServer, home: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    settings = {"RUNFLOW_HOME": str(home), "RUNFLOW_WORKER_TOKEN": TOKEN, "RUNFLOW_COMFYUI": str(home / "no")}
    return subprocess.Popen(
        [sys.executable, "-m", "runflow", "worker", "--server", server.url, "--name", "box", *arguments],
        env={**os.environ, **settings},
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
