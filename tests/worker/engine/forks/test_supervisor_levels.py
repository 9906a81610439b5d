"""Which levels of forks are tried, without a ComfyUI."""

from pathlib import Path

import pytest

from runflow.worker.engine.boot import OwnedSettings
from runflow.worker.engine.home import EngineHome


@pytest.mark.parametrize(("cpu", "levels"), [(True, (3, 0)), (False, (0,))])
def test_level_3_is_for_the_cpu_and_level_0_for_graphics_cards(
    tmp_path: Path, cpu: bool, levels: tuple[int, ...]
) -> None:
    (tmp_path / "comfy").mkdir()
    (tmp_path / "comfy/cli_args.py").write_text('parser.add_argument("--cpu")')
    home = EngineHome(OwnedSettings(tmp_path, tmp_path / "base", cpu=cpu))
    assert home.forks._levels() == levels
    home = EngineHome(OwnedSettings(tmp_path, tmp_path / "base", cpu=cpu, fork_levels=(3,)))
    assert home.forks._levels() == (3,)
