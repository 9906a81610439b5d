"""Every fault that the chaos benchmark knows strikes: nothing is lost, stuck, doubled, cross-wired or orphaned."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from benchmarks.chaos.faults import FAULTS
from tests.support.source import ROOT

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]

SEED = 7
RUNS = 60
HANG_SECONDS = 600


def test_sixty_runs_through_every_fault(comfyui_dir: Path) -> None:
    asked = ("--runs", str(RUNS), "--seed", str(SEED), "--patience", str(HANG_SECONDS), "--json")
    command = [sys.executable, "-m", "benchmarks", "chaos", *asked]
    environment = {**os.environ, "RUNFLOW_COMFYUI": str(comfyui_dir)}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        said, course = process.communicate()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)  # it takes along what it has started
            process.wait()
    assert said, course.decode()
    told = orjson.loads(said)
    assert told["findings"] == [], course.decode()
    assert process.returncode == 0
    assert told["faults"].keys() == {fault.name for fault in FAULTS}
    assert told["counts"]["runs"] >= RUNS
    assert told["counts"]["pictures right"] == told["counts"]["runs"] == told["counts"]["messages"]
