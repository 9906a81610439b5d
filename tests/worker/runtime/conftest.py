"""One virtual environment with pip for the session: making one takes seconds, copying it does not."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from runflow.worker.runtime.environment import Environment
from runflow.worker.runtime.index_settings import Indexes, IndexSettings

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
