"""Real processes: started, ended with everything they started, remembered, and never surviving who started them."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import uvloop

from runflow.worker.engine.base import EngineStartFailed
from runflow.worker.engine.process import EngineProcess, descendants, end_leftover
from tests.support.waiting import until

FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("child", child.pid, flush=True)
time.sleep(60)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


def process(tmp_path: Path, code: str, **env: str) -> EngineProcess:
    command = [sys.executable, "-c", code]
    env = {"PATH": os.environ["PATH"], **env}
    return EngineProcess(command, cwd=tmp_path, env=env, log_path=tmp_path / "e.log", pid_path=tmp_path / "e.pid")


def is_alive(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


async def child_of(engine: EngineProcess) -> int:
    await until(lambda: "child" in engine.log_tail())
    return int(engine.log_tail().split()[1])


async def test_stopping_ends_children_too_and_leaves_no_trace(tmp_path: Path) -> None:
    engine = process(tmp_path, FAMILY)
    await engine.start()
    child = await child_of(engine)
    assert (tmp_path / "e.pid").exists()
    assert engine.memory_bytes(children=True) > engine.memory_bytes(children=False) > 0
    await engine.stop(patience=5)
    assert engine.returncode is not None
    assert not is_alive(child)
    assert not (tmp_path / "e.pid").exists()
    await engine.stop(patience=5)


async def test_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    engine = process(tmp_path, DEAF)
    await engine.start()
    await until(lambda: "ready" in engine.log_tail())
    await engine.stop(patience=0.2)
    assert engine.returncode == -signal.SIGKILL


async def test_output_and_end_are_known(tmp_path: Path) -> None:
    (tmp_path / "e.log").write_text("the one before")
    engine = process(tmp_path, "import sys; print('\\x1b[31mred\\x1b[0m words'); sys.exit(3)", SECRET="1")
    await engine.start()
    assert await engine.wait() == 3
    assert engine.log_tail().strip() == "red words"
    assert (tmp_path / "e.log.1").read_text() == "the one before"
    await engine.kill()


async def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    engine = EngineProcess(
        ["/nowhere/python"], cwd=tmp_path, env={}, log_path=tmp_path / "e.log", pid_path=tmp_path / "e.pid"
    )
    with pytest.raises(EngineStartFailed, match="cannot be started"):
        await engine.start()


STARTER = f"""
import asyncio, sys
from pathlib import Path
from runflow.worker.engine.process import EngineProcess

async def main():
    here = Path(sys.argv[1])
    engine = EngineProcess(
        [sys.executable, "-c", {FAMILY!r}], cwd=here, env={{}}, log_path=here / "e.log", pid_path=here / "e.pid"
    )
    await engine.start()
    while "child" not in engine.log_tail():
        await asyncio.sleep(0.01)
    print(engine.pid, engine.log_tail().split()[1], flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_kill_9_of_the_starter_ends_the_whole_family(tmp_path: Path) -> None:
    starter = subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    pids = [int(pid) for pid in (await asyncio.to_thread(starter.stdout.readline)).split()]
    assert len(pids) == 2
    starter.kill()
    starter.wait()
    starter.stdout.close()
    await until(lambda: not any(is_alive(pid) for pid in pids))


def test_a_leftover_is_ended_but_never_a_stranger_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "e.pid"
    assert end_leftover(path) is None
    path.write_text("nonsense")
    assert end_leftover(path) is None

    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        created = psutil.Process(left.pid).create_time()
        path.write_text(f'{{"pid": {left.pid}, "created": {created - 100}}}')
        assert end_leftover(path) is None
        assert left.poll() is None
        path.write_text(f'{{"pid": {left.pid}, "created": {created}}}')
        assert end_leftover(path) == left.pid
        assert left.wait(60) == -signal.SIGKILL
        assert not path.exists()
    finally:
        left.kill()
        left.wait()


@pytest.mark.parametrize("umask", [0o000, 0o077])
async def test_no_other_user_reads_the_log_or_what_the_process_writes(tmp_path: Path, umask: int) -> None:
    (tmp_path / "e.log").write_text("of an earlier engine, open to everyone")
    (tmp_path / "e.log").chmod(0o666)
    before = os.umask(umask)
    try:
        engine = process(tmp_path, "import os; os.mkdir('d'); open('f', 'w'); print('the end', flush=True)")
        await engine.start()
        await engine.wait()
    finally:
        os.umask(before)
    await engine.stop(patience=5)
    found = {name: oct((tmp_path / name).stat().st_mode & 0o777) for name in ("e.log", "e.log.1", "d", "f")}
    assert found == {"e.log": "0o640", "e.log.1": "0o640", "d": "0o750", "f": "0o640"}


async def test_the_command_gets_nothing_open_but_its_input_and_output(tmp_path: Path) -> None:
    """uvloop, on which the worker runs, leaves copies of the output open: whoever had one would keep the log open."""
    code = "import os, sys; print(*(n for n in range(3, 4096) if os.path.exists(f'/dev/fd/{n}')), 'end', flush=True)"

    async def descriptors() -> str:
        engine = process(tmp_path, code)
        await engine.start()
        await engine.wait()
        await engine.kill()
        return engine.log_tail()

    said = await asyncio.to_thread(lambda: uvloop.run(descriptors()))
    assert said == "end\n"


LISTING = """
import os, stat
for number in sorted(int(name) for name in os.listdir("/proc/self/fd")):
    try:
        state = os.fstat(number)
    except OSError:
        continue  # the listing's own
    print("has", number, stat.S_IFMT(state.st_mode), state.st_ino, flush=True)
print("told", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_it_has_no_descriptor_but_nothing_to_read_and_the_pipe_of_its_log(
    tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def list_descriptors() -> list[list[int]]:
        engine = process(tmp_path, LISTING)
        await engine.start()
        try:
            await until(lambda: "told" in engine.log_tail())
            return [[int(word) for word in line.split()[1:]] for line in engine.log_tail().splitlines()[:-1]]
        finally:
            await engine.stop(patience=5)

    with (tmp_path / "secret").open("w") as secret, socket.create_server(("127.0.0.1", 0)) as server:
        for ours in (secret.fileno(), server.fileno()):
            os.set_inheritable(ours, True)
        with asyncio.Runner(loop_factory=loop) as runner:
            found = runner.run(list_descriptors())
    assert [number for number, *_ in found] == [0, 1, 2]
    nothing, said, complained = found
    assert nothing[1:] == [stat.S_IFCHR, Path(os.devnull).stat().st_ino]
    assert said[1:] == complained[1:]
    assert said[1] == stat.S_IFIFO
    assert said[2] not in {os.fstat(number).st_ino for number in (0, 1, 2)}


async def test_a_log_that_cannot_be_written_is_no_fault_of_the_installation(tmp_path: Path) -> None:
    engine = EngineProcess(
        [sys.executable], cwd=tmp_path, env={}, log_path=tmp_path / "gone" / "e.log", pid_path=tmp_path / "e.pid"
    )
    with pytest.raises(EngineStartFailed, match=r"e\.log cannot be written: No such file.* disk has room") as raised:
        await engine.start()
    assert "install" not in str(raised.value)


async def test_a_machine_at_its_limit_is_no_fault_of_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    with pytest.raises(EngineStartFailed, match="at its limit of processes"):
        await process(tmp_path, "").start()


async def test_what_a_process_has_started_is_found_below_every_thread() -> None:
    code = (
        "import subprocess, threading\n"
        "def work():\n"
        "    held = subprocess.Popen(['sh', '-c', 'sleep 600 & wait'])\n"
        "    print(held.pid, flush=True)\n"
        "    held.wait()\n"
        "threading.Thread(target=work).start()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as started:
        try:
            assert started.stdout is not None
            shell = int(started.stdout.readline())
            await until(lambda: len(descendants(started.pid)) == 2)
            first, second = descendants(started.pid)
            assert (first.pid, second.ppid()) == (shell, shell), "parents first"
        finally:
            os.killpg(started.pid, signal.SIGKILL)
    assert descendants(started.pid) == []
