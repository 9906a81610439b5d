"""Commands as processes on the suite's database; inside the test process they leave its log lines alone."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
from sqlalchemy import URL

from runflow.master_key import MasterKey


@pytest.fixture(autouse=True)
def _log_lines_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command points every log line of its process at stderr, and here that is captured and soon closed."""
    monkeypatch.setattr(structlog, "configure", lambda **_: None)


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


Command = Callable[..., Awaitable[Said]]


@pytest.fixture
def runflow(db_url: URL, master_key: MasterKey, tmp_path: Path) -> Command:
    """Run a command on the database of the suite."""
    url = db_url.set(drivername="postgresql").render_as_string(hide_password=False)
    settings = {
        "RUNFLOW_HOME": str(tmp_path),
        "RUNFLOW_DATABASE_URL": url,
        "RUNFLOW_SECRET_KEY": "0123456789abcdef" * 4,
    }

    async def run(*arguments: str) -> Said:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "runflow", *arguments),
            env={**os.environ, **settings, "COLUMNS": "200", "NO_COLOR": "1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        return Said(process.returncode or 0, out.decode(), err.decode())

    return run
