"""End-to-end tests: everything in this folder runs on a real ComfyUI (fixtures: tests/support/comfyui_fixtures.py)."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.platform_fixtures import new_home
from tests.support.runtime_bench import Bench, building


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder as end-to-end."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="package")
def runtimes() -> Iterator[Path]:
    """The folder that installations share, as workers of one machine do: torch is installed into it once."""
    folder = new_home()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def bench(comfyui_dir: Path, runtimes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One whose worker builds whatever a version names."""
    with building(comfyui_dir, tmp_path_factory.mktemp("repositories"), runtimes, "on") as started:
        yield started


@pytest.fixture(scope="module")
def asking(comfyui_dir: Path, runtimes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One whose worker builds what the operator has approved."""
    with building(comfyui_dir, tmp_path_factory.mktemp("repositories"), runtimes, "approved") as started:
        yield started
