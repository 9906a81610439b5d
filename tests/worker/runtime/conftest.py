"""One virtual environment with pip for the session (making one takes seconds, copying does not), and held programs."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from runflow.worker.runtime.confined.confined import remove_folder
from runflow.worker.runtime.environment import Environment
from runflow.worker.runtime.index_settings import Indexes, IndexSettings
from tests.worker.runtime.bench import KINDS, Bench, made_bench

CopyEnvironment = Callable[[Path], None]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A virtual environment with pip, and no index but the ones that tests name."""
    root = tmp_path_factory.mktemp("environment") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", str(root)], check=True)
    return Environment(root, Indexes(IndexSettings(), IndexSettings()), None)


def put_environment(environment: Environment, directory: Path) -> None:
    """Put a copy of an environment into a ComfyUI folder, as a first stage of its installation would."""
    shutil.copytree(environment.root, directory / ".venv", symlinks=True)
    (directory / ".runflow").mkdir()


@pytest.fixture
def copy_environment(environment: Environment) -> CopyEnvironment:
    """Put a copy of the session's environment into a ComfyUI folder."""
    return partial(put_environment, environment)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter: pytest's own is closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="runflow-build-"))
    folder.chmod(0o755)
    yield folder
    remove_folder(folder)


@pytest.fixture(params=KINDS)
async def bench(request: pytest.FixtureRequest, open_folder: Path) -> Bench:
    """Each rung that this machine offers."""
    return await made_bench(open_folder, request.param)


@pytest.fixture
async def best(open_folder: Path) -> Bench:
    """What this machine offers by itself."""
    return await made_bench(open_folder, "best")
