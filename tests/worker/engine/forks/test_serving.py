"""What a node that starts its ComfyUI anew gets: the end of the engine, and of nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from runflow.protocol.failures import FailureCode
from runflow.worker.engine import forks
from runflow.worker.engine.diagnosis import diagnose
from runflow.worker.engine.forks.serving import RESTART_EXIT_CODE

RUNS = f"""
import os, sys
sys.path.insert(0, {str(Path(forks.__file__).parent)!r})
import serving
serving.end_instead_of_exec()
"""


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", RUNS + code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "code",
    [
        "os.execv(sys.executable, [sys.executable, '-c', 'print(1)'])",
        "os.execl(sys.executable, sys.executable, '-c', 'print(1)')",
        "os.execvpe('python3', ['python3', '-c', 'print(1)'], os.environ)",
    ],
)
def test_an_exec_ends_the_engine_with_a_reason_that_no_other_engine_would_mend(code: str) -> None:
    ended = run(code)
    assert (ended.returncode, ended.stdout) == (RESTART_EXIT_CODE, "")
    assert "asked for a restart" in ended.stderr
    why = diagnose(ended.returncode, ended.stderr)
    assert "restarted ComfyUI" in why.text and "Take that node out" in why.text
    assert (why.code, why.again) == (FailureCode.ENGINE_CRASHED, False)


@pytest.mark.parametrize("name", ["execv", "execvp"])
def test_a_child_of_a_node_may_become_another_program(name: str) -> None:
    child = f"os.{name}(sys.executable, [sys.executable, '-c', 'print(\"the child\", flush=True)'])"
    ended = run(f"pid = os.fork()\nif pid == 0: {child}\nos.waitpid(pid, 0)\nprint('the engine')")
    assert (ended.returncode, ended.stdout) == (0, "the child\nthe engine\n")
