"""A real ComfyUI for the tests: installed once into RUNFLOW_HOME and used again by later sessions.

`comfyui_dir`, `comfyui_engine`, `comfyui_url`, `comfyui_base` last for the session; a test that kills or restarts an
engine takes its own with `own_engine`.
"""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runflow.settings import Settings
from runflow.worker.engine.boot import OwnedSettings
from runflow.worker.engine.owned import OwnedEngine
from runflow.worker.runtime.commands import InstallError
from runflow.worker.runtime.install import InstallAsk, install
from runflow.worker.runtime.record import is_usable
from runflow.worker.runtime.report import LogReporter

_INSTALL_TIMEOUT_SECONDS = 1800

OwnEngine = Callable[..., Awaitable[OwnedEngine]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test needs a ComfyUI first may have to wait for its installation."""
    for item in items:
        slow = item.get_closest_marker("e2e") or item.get_closest_marker("browser")
        if slow and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_INSTALL_TIMEOUT_SECONDS))


@pytest.fixture(scope="session")
def comfyui_dir() -> Path:
    """The folder of a real ComfyUI: RUNFLOW_COMFYUI (which must be there), else RUNFLOW_TEST_COMFYUI or
    RUNFLOW_HOME/comfyui, where one is installed when it is missing.
    """
    settings = Settings()
    shared = os.environ.get("RUNFLOW_TEST_COMFYUI")
    directory = Path(shared) if shared and settings.comfyui is None else settings.comfyui_dir
    if is_usable(directory):
        return directory
    if settings.comfyui is not None:
        pytest.skip(f"RUNFLOW_COMFYUI names {directory}, and no ComfyUI is there")
    try:
        return install(InstallAsk(directory), LogReporter(agree=True)).directory
    except InstallError as error:
        pytest.skip(f"no ComfyUI can be installed on this machine: {error}")


@pytest.fixture(scope="session")
def comfyui_base() -> Iterator[Path]:
    """The base folder of `comfyui_engine`, with input/ and output/."""
    folder = Path(tempfile.mkdtemp(prefix="runflow-engine-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
async def comfyui_engine(comfyui_dir: Path, comfyui_base: Path) -> AsyncIterator[OwnedEngine]:
    """A started owned engine with the plugin, shared by the session. Do not stop, kill or restart it."""
    engine = OwnedEngine(OwnedSettings(comfyui_dir, comfyui_base))
    await engine.start()
    yield engine
    await engine.stop()


@pytest.fixture(scope="session")
def comfyui_url(comfyui_engine: OwnedEngine) -> str:
    """The base URL of `comfyui_engine`."""
    return comfyui_engine.url


@pytest.fixture
async def own_engine(comfyui_dir: Path, tmp_path: Path) -> AsyncIterator[OwnEngine]:
    """Start engines of the test's own: `await own_engine(**fields of OwnedSettings)`; all are stopped afterwards."""
    started: list[OwnedEngine] = []

    async def start(**fields: Any) -> OwnedEngine:
        base = fields.pop("base_dir", tmp_path / f"engine-{len(started)}")
        engine = OwnedEngine(OwnedSettings(comfyui_dir, base, **fields))
        started.append(engine)
        await engine.start()
        return engine

    yield start
    for engine in started:
        await engine.stop()
