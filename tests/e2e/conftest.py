"""End-to-end tests: everything in this folder runs on a real ComfyUI (fixtures: tests/support/comfyui_fixtures.py)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runflow.client import Runflow
from tests.support.platform_fixtures import Platform, installation


@pytest.fixture(scope="session")
def platform(comfyui_dir: Path) -> Iterator[Platform]:
    """The installation of this folder's tests, which takes models."""
    with installation(comfyui_dir, environment={"RUNFLOW_ACCEPT_MODELS": "true"}) as started:
        yield started


# The two below as well: what they were made from elsewhere would be kept for the session.
@pytest.fixture(scope="session")
def platform_key(platform: Platform) -> str:
    """An API key of this folder's installation with every scope."""
    return platform.key()


@pytest.fixture(scope="session")
def api(platform: Platform, platform_key: str) -> Iterator[Runflow]:
    """A client of this folder's installation."""
    with Runflow(platform.url, platform_key) as client:
        yield client


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder as end-to-end."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
