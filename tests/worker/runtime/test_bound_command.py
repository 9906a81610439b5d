"""A command that a worker has begun ends with it, however the worker ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runflow.worker.runtime import bound_command
from runflow.worker.runtime.build import bytecode

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux does that")

COMMAND = """
import asyncio, sys
from runflow.worker.runtime.commands import in_thread, run
asyncio.run(in_thread(lambda: run([sys.executable, "-c", sys.argv[2]], what="x")))
"""


def test_it_ends_when_who_began_it_is_killed(tmp_path: Path) -> None:
    """It holds a pipe open, whose end comes when nobody does any more."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = f"import time; held = open({str(pipe)!r}, 'w', 1); print('begun', file=held); time.sleep(600)"
    worker = subprocess.Popen([sys.executable, "-c", COMMAND, str(tmp_path), code])
    with pipe.open() as held:
        assert held.readline() == "begun\n"
        worker.kill()
        worker.wait()
        assert held.read() == ""


def test_who_was_killed_before_begins_nothing(tmp_path: Path) -> None:
    words = [sys.executable, "-I", "-S", bound_command.__file__, "1" if os.getpid() != 1 else "2"]
    done = subprocess.run([*words, "touch", str(tmp_path / "done")], check=False)
    assert done.returncode == 1
    assert not (tmp_path / "done").exists()


def test_the_processes_that_compile_end_when_who_began_them_is_killed(tmp_path: Path) -> None:
    """They have standard output open, whose end comes when none of them is there any more."""
    code = (
        "import os, runpy, signal, sys\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        f"sys.argv = [{bytecode.__file__!r}]\n"
        f"module = runpy.run_path({bytecode.__file__!r})\n"
        "pool = ProcessPoolExecutor(initializer=module['_end_with_parent'])\n"
        "list(pool.map(abs, [1, 2]))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, timeout=60)
    assert ended.returncode == -signal.SIGKILL
