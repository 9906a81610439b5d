import asyncio
import os
import sys

import pytest

from plugin import process_secret
from plugin.autosetup import restart


def test_the_command_is_that_of_the_start_without_another_page() -> None:
    started = ["python", "-s", "main.py", "--port", "8189"]
    assert restart.command("/venv/python", started) == ["/venv/python", *started[1:], "--disable-auto-launch"]
    quiet = [*started, "--disable-auto-launch"]
    assert restart.command("/venv/python", quiet) == ["/venv/python", *quiet[1:]]


async def test_the_answer_leaves_before_the_process_does(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    monkeypatch.setenv(process_secret.ENVIRONMENT, "")
    restart.restart_soon(lambda *given: done.append(given), windows=False)
    restart.restart_soon(spawn=lambda given: done.append(given), leave=lambda code: done.append(code), windows=True)
    assert done == []
    async with asyncio.timeout(60):
        while len(done) < 3:
            await asyncio.sleep(0.01)
    assert os.environ[process_secret.ENVIRONMENT] == process_secret.headers()[process_secret.HEADER], (
        "a worker goes on with its secret"
    )
    assert done == [(sys.executable, restart.command()), restart.command(), 0]
