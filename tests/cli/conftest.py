"""Commands as processes of their own, on the suite's database or against the suite's server."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from sqlalchemy import URL


@dataclass(frozen=True)
class Said:
    """What a command ended with and printed."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """What it told people, without line breaks."""
        return " ".join(self.err.split())


Command = Callable[..., Awaitable[Said]]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a user with this folder, who has set nothing else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNFLOW_", "XDG_"))}
    own = {"HOME": str(folder), "RUNFLOW_HOME": str(folder / "home"), "COLUMNS": "200", "NO_COLOR": "1"}
    return {**kept, **own, **more}


async def told(environment: dict[str, str], *arguments: str, stdin: str = "", cwd: Path | None = None) -> Said:
    """Run a command to its end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "runflow", *arguments),
        env=environment,
        cwd=cwd,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), err.decode())


@pytest.fixture
def runflow(db_url: URL, tmp_path: Path) -> Command:
    """Run an operator's command on the database of the suite."""
    url = db_url.set(drivername="postgresql").render_as_string(hide_password=False)
    settings = environment(tmp_path, RUNFLOW_DATABASE_URL=url, RUNFLOW_SECRET_KEY="0123456789abcdef" * 4)

    async def run(*arguments: str, **more: str) -> Said:
        return await told({**settings, **more}, *arguments)

    return run


@pytest.fixture
def caller(own_address: str, client: httpx.AsyncClient, tmp_path: Path) -> dict[str, str]:
    """The environment of a developer of the organization of `client`."""
    key = client.headers["Authorization"].removeprefix("Bearer ")
    return environment(tmp_path, RUNFLOW_URL=own_address, RUNFLOW_API_KEY=key)


@pytest.fixture
def cli(caller: dict[str, str], tmp_path: Path) -> Command:
    """Run a developer's command in `tmp_path`; `key=""` and such replace variables of its environment."""

    async def run(*arguments: str, stdin: str = "", **more: str) -> Said:
        return await told({**caller, **more}, *arguments, stdin=stdin, cwd=tmp_path)

    return run
