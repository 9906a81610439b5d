from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from plugin.autosetup.fetch import Fetcher
from plugin.autosetup.sources import VARIABLE, Sources
from tests.plugin.autosetup.small_machine import SmallMachine
from tests.support.autosetup_hosts import Host, serve


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    """A host of repositories and files."""
    async with serve(Host(tmp_path / "repositories")) as served:
        yield served


@pytest.fixture
async def fetcher(host: Host, tmp_path: Path) -> AsyncIterator[Fetcher]:
    """The client, in a process whose environment allows the host and the folder of repositories."""
    allowed = f"{host.url}/, {(tmp_path / 'repositories').as_uri()}"
    async with Fetcher(Sources({VARIABLE: allowed})) as made:
        yield made


@pytest.fixture
async def strict() -> AsyncIterator[Fetcher]:
    """The client in an environment that allows nothing."""
    async with Fetcher(Sources({})) as made:
        yield made


@pytest.fixture
def machine(tmp_path: Path) -> SmallMachine:
    """A ComfyUI without any model and any pack."""
    return SmallMachine(tmp_path / "comfyui")
