"""The root of the clone is no package of tests, although it holds an `__init__.py`.

That file is for ComfyUI (the clone in its custom_nodes folder is the plugin). pytest would import it before every test,
under the name of the clone's folder: that works for `runflow` and fails for `ComfyUI-Runflow`.
"""

from pathlib import Path

import pytest


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect the root as a plain folder; leave every other folder to pytest."""
    return pytest.Dir.from_parent(parent, path=path) if path == parent.config.rootpath else None
