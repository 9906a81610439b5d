"""Browser tests: real pages of a real ComfyUI in a real Chromium (fixtures: tests/editor_fixtures.py)."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse an unmarked test: `.ci/run` installs Chromium when it finds the marker in a test file."""
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("browser"):
            raise pytest.UsageError(f"{item.nodeid}: write `pytestmark = pytest.mark.browser` (.ci/run looks for it)")
