"""A fork server whose code a pack has changed at import: what the worker sees of that from outside. No ComfyUI."""

import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from runflow.worker.engine.base import EngineStartFailed
from runflow.worker.engine.forks.fork_server import ForkedEngine, ForkRefused, ForkServer, Wish
from runflow.worker.engine.isolation.probe import probe
from runflow.worker.engine.isolation.rungs import Rung, make_life
from runflow.worker.engine.isolation.view import Runtime
from tests.support.waiting import until

MAIN = """
import subprocess, sys, threading, time
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(1000)"])
print("serves", flush=True)
time.sleep(1000)
"""
DECOY = """
import os, sys, time
main = sys.modules["__main__"]
kernel, real = main.kernel, main._settle
def settle(asked):
    os.setsid()
    kernel.unshare(kernel.NEW_PROCESSES | kernel.NEW_MOUNTS)
    kernel.keep_mounts_to_ourselves()
    if os.fork() == 0:  # held as it must be, and idle
        unshare = kernel.unshare
        kernel.unshare = lambda flags: unshare(flags & ~kernel.NEW_PROCESSES)
        os.fork, os.setsid = lambda: 0, lambda: 0
        real(asked)
        kernel.close_others(set())
        time.sleep(1000)
    served = os.fork()
    if served:
        kernel.close_others(set())
        main._end_with(served)
main._settle = settle
"""
ORPHAN = """
import os, sys, time
main = sys.modules["__main__"]
real = main._child
def child(parent, asked, descriptors):
    if os.fork() == 0:  # below the fork server, and not below this child
        if os.fork():
            os._exit(0)
        time.sleep(1000)
    real(parent, asked, descriptors)
main._child = child
"""
KEPT = """
import os, sys
main = sys.modules["__main__"]
real = main.Server._fork
def fork(self, asked, descriptors):
    os.dup(descriptors[0])
    real(self, asked, descriptors)
main.Server._fork = fork
"""
THREAD = """
import sys, threading, time
main = sys.modules["__main__"]
give_up = main.kernel.give_up_rights
def give_up_rights():
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    give_up()
main.kernel.give_up_rights = give_up_rights
"""


SAYS = """
import json
real = json.dumps
json.dumps = lambda told: {answer!r} if told["kind"] == {kind!r} else real(told)
"""


class Forks:
    """A fork server that imports one module, and the engine that it forked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = Runtime(folder / "comfy", Path(sys.executable), folder / "base")
        self.server: ForkServer | None = None
        self.first = 0

    async def forked(self, code: str) -> ForkedEngine:
        """Start a fork server that imports this, and fork an engine that serves."""
        comfy = self.runtime.comfy_dir
        (self.runtime.base_dir / "custom_nodes").mkdir(parents=True)
        comfy.mkdir()
        (comfy / "main.py").write_text(MAIN)
        (comfy / "changed.py").write_text(code)
        (comfy / "aiohttp").mkdir()
        (comfy / "aiohttp" / "__init__.py").write_text("")
        (comfy / "aiohttp" / "web.py").write_text("class SockSite: pass")
        for name in ("input", "output", "temp", "user", "tmp", "models"):
            (self.runtime.base_dir / name).mkdir(exist_ok=True)
        sandbox = await probe(self.runtime, network=False)
        if sandbox.rung is not Rung.NAMESPACES:
            pytest.skip(f"engines are forked in namespaces: {sandbox.why_not_better}")
        lives = self.folder / "lives"
        make_life(lives / "one", sandbox.uid(1))
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(comfy)}
        self.server = ForkServer(self.runtime, sandbox, lives, environment, self.folder / "forks.log")
        await self.server.start(Wish(0, (), modules=("changed",)))
        self.first = self.server.processes()[0].pid
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(self.folder / "socket"))
            listening.listen()
            engine = await self.server.fork(
                "one", 1, listening.fileno(), {}, self.folder / "engine.log", file_bytes=1 << 20
            )
        await until(lambda: "serves" in engine.log_tail() or not engine.running)
        assert engine.running, engine.log_tail()
        return engine


@pytest.fixture
async def forks(tmp_path: Path) -> AsyncIterator[Forks]:
    made = Forks(tmp_path)
    yield made
    if made.server is not None:
        await made.server.stop()


async def held(forks: Forks, code: str) -> str | None:
    engine = await forks.forked(code)
    assert forks.server is not None
    try:
        return await forks.server.held(engine)
    finally:
        await engine.kill()


async def test_one_with_threads_and_programs_of_its_own_is_held_as_it_must_be(forks: Forks) -> None:
    assert await held(forks, "") is None


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        pytest.param(DECOY, "rights", id="a decoy that is shut in, beside who serves"),
        pytest.param(THREAD, "rights", id="a thread that kept the rights"),
        pytest.param(ORPHAN, "holds the socket", id="a process that is none of the engine's"),
        pytest.param(KEPT, "holds the socket", id="the fork server itself"),
    ],
)
async def test_what_a_pack_changed_is_seen(forks: Forks, code: str, fault: str) -> None:
    assert fault in (await held(forks, code) or "nothing")


async def test_an_engine_that_was_killed_is_seen_as_that(forks: Forks) -> None:
    engine = await forks.forked("")
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    assert await engine.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    "answer",
    [
        "{",
        "[]",
        '{"name": "one"}',
        '{"kind": ["fork"], "name": "one"}',
        '{"kind": "fork", "name": {}}',
        '{"kind": "ended", "name": "one"}',
        '{"kind": "fork", "name": "one"}',
        '{"kind": "fork", "name": "one", "process": "1"}',
    ],
)
async def test_what_is_no_answer_is_a_failed_start(forks: Forks, answer: str) -> None:
    with pytest.raises(EngineStartFailed, match=r"no answer|no process"):
        await forks.forked(SAYS.format(kind="fork", answer=answer))
    assert forks.server is not None
    assert forks.server.is_idle
    if not forks.server.running:  # it ends where nothing that it says can be understood
        await until(lambda: not psutil.pid_exists(forks.first))


@pytest.mark.parametrize(
    "told", ['"complaints": []', '"cuda": false, "complaints": {"pack": 1}', '"cuda": 0, "complaints": {}']
)
async def test_a_fork_server_that_does_not_say_what_it_imported_is_refused(forks: Forks, told: str) -> None:
    with pytest.raises(ForkRefused, match="answered with no"):
        await forks.forked(SAYS.format(kind="load", answer=f'{{"kind": "load", {told}}}'))
