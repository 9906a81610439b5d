import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ComfyUI's output folder, as its module `folder_paths` names it to the nodes."""
    folder = tmp_path / "output"
    folder.mkdir()
    folder_paths = ModuleType("folder_paths")
    folder_paths.get_output_directory = lambda: str(folder)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "folder_paths", folder_paths)
    return folder
