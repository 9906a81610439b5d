"""`scripts/bench gpu` where there is no graphics card."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import DEVICES, NOT_RUN
from tests.support.source import ROOT


def test_without_a_cuda_device_it_says_so_and_is_content(tmp_path: Path) -> None:
    if any(str(entry).startswith(DEVICES) for entry in Path("/dev").iterdir()):
        pytest.skip("there is a graphics card here")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "gpu"],
        cwd=ROOT,
        env={**os.environ, "RUNFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"gpu: {NOT_RUN}\n"), done.stderr
