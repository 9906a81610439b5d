"""What a confined process is not told and cannot take."""

import os
from pathlib import Path

import pytest

from runflow.sandbox.confine import environment
from runflow.sandbox.process import ConfinedProcess
from tests.sandbox.conftest import ask


def test_settings_and_secrets_are_left_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUNFLOW_SECRET_KEY", "RUNFLOW_DATABASE_URL", "PGPASSWORD"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    given = environment()
    assert "secret" not in given.values() and given["LANG"] == "C.UTF-8"
    assert given["OMP_NUM_THREADS"] == "1"


async def test_memory_files_and_core_dumps_are_bounded(process: ConfinedProcess, tmp_path: Path) -> None:
    assert await ask(process, f"take {1024**2}") == "taken"
    assert await ask(process, f"take {2 * 1024**3}") == "refused"
    assert await ask(process, f"write {tmp_path / 'file'}") == "1500"
    assert (tmp_path / "file").stat().st_size == 1500
    assert await ask(process, "core") == "(0, 0)"


async def test_the_processors_are_the_server_s_first(process: ConfinedProcess) -> None:
    pid = int(await ask(process, "pid"))
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
