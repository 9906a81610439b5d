"""What of the machine an engine sees: of its environment, and of what files in that name."""

import sys
from pathlib import Path
from typing import Any

import pytest

from runflow.worker.engine.isolation.view import Runtime, mounts


def places(runtime: Runtime) -> list[str]:
    """Return the paths at which an engine sees something."""
    found: list[dict[str, Any]] = mounts(
        runtime, lives=runtime.base_dir, life=None, network=False, gpu=False, layered=False, owner=None
    )
    return [str(one["at"]) for one in found]


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    """An environment in which a package and a configuration name folders of the machine."""
    environment, secrets, other = (tmp_path / name for name in ("environment", "secrets", "other/bin"))
    packages = environment / "lib/python3.11/site-packages"
    for folder in (packages, environment / "bin", secrets, other, tmp_path / "comfyui", tmp_path / "base"):
        folder.mkdir(parents=True)
    (environment / "bin/python").symlink_to(sys.executable)
    (packages / "lurk.pth").write_text(f"# {secrets}\n")
    (environment / "pyvenv.cfg").write_text(f"home = {other}\n")
    return Runtime(tmp_path / "comfyui", environment / "bin/python", tmp_path / "base")


def test_what_the_operators_own_environment_borrows_from_is_seen(runtime: Runtime, tmp_path: Path) -> None:
    found = places(runtime)
    assert str(tmp_path / "environment") in found
    assert str(tmp_path / "secrets") in found and str(tmp_path / "other") in found


def test_what_strangers_packages_name_is_not(runtime: Runtime, tmp_path: Path) -> None:
    strangers = Runtime(runtime.comfy_dir, runtime.python, runtime.base_dir, is_strangers=True)
    found = places(strangers)
    assert str(tmp_path / "environment") in found
    assert str(tmp_path / "secrets") not in found and str(tmp_path / "other") not in found
