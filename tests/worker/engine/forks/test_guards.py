"""What a step leaves in a process that others are forked from, in words: without a ComfyUI."""

import subprocess
import sys
from pathlib import Path

import pytest

from runflow.worker.engine import forks

RUNS = f"""
import os, sys, threading, time, types
sys.path.insert(0, {str(Path(forks.__file__).parent)!r})
import guards
counts = [4]
sys.modules["torch"] = types.SimpleNamespace(
    cuda=types.SimpleNamespace(is_initialized=lambda: False), get_num_threads=lambda: counts[0])
watch = guards.Watch()
{{step}}
print(watch.what_came())
os._exit(0)
"""


def what_came(step: str) -> str:
    done = subprocess.run([sys.executable, "-c", RUNS.format(step=step)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("counts.append(1)", "[]"),
        ("counts[0] = 1", "['another number of threads to compute with']"),
        (
            "threading.Thread(target=time.sleep, args=(60,), name='beats', daemon=True).start()",
            "['a thread that runs (beats#",
        ),
        ("import socket; kept = socket.create_server(('127.0.0.1', 0))", "['an open connection (socket:["),
        ("import mmap; kept = mmap.mmap(-1, 4096)", "['memory that every engine would share']"),
        ("import signal; signal.setitimer(signal.ITIMER_REAL, 60)", "['a timer that interrupts']"),
        ("sys.modules['torch'].cuda.is_initialized = lambda: True", "['a CUDA context']"),
    ],
)
def test_a_step_is_told_what_it_left(step: str, words: str) -> None:
    assert what_came(step).startswith(words)


def test_torch_itself_may_choose_its_threads() -> None:
    """Before its import nothing is known of them, so nothing has changed."""
    before = "del sys.modules['torch']; watch.what_came(); import types"
    came = f"{before}; sys.modules['torch'] = types.SimpleNamespace(cuda=types.SimpleNamespace(is_initialized=bool))"
    assert what_came(came) == "[]"
    assert what_came(f"{came}; sys.modules['torch'].get_num_threads = lambda: 1") == "[]"
