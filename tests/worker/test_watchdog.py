"""Real processes: a worker that stands still or crashes is started again, one that is only stopped is not."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryFile

import psutil
import pytest

from runflow.worker.watchdog import CRASHED, _Stacks
from tests.support.waiting import until

SCRIPT = """
import asyncio, os, re, signal, sys, time
from pathlib import Path
from runflow.logs import configure
from runflow.worker import watchdog

watchdog.PULSE_SECONDS = 0.02
watchdog.RESTART_SECONDS = (0.01,)
configure("json")
lives = Path(sys.argv[1])

def sleep():
    time.sleep(600)

def hold_the_lock():
    re.match("(a+)+$", "a" * 60 + "b")

def crash():
    raise RuntimeError("broken on purpose")

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def leave():
    raise SystemExit

async def main(pulse, first):
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    loop.add_signal_handler(signal.SIGUSR2, lambda: print("alive", os.getpid(), flush=True))
    pulse.start(stop.set)
    await asyncio.sleep(0.1)
    print("life", os.getpid(), flush=True)
    if first:
        globals()[sys.argv[2]]()
    await stop.wait()
    print("stopped", flush=True)
    return int(sys.argv[3])

def work(pulse):
    first = not lives.exists() and sys.argv[2] != "-"
    lives.touch()
    return asyncio.run(main(pulse, first))

try:
    watchdog.Watchdog(work, hang_seconds=float(sys.argv[4])).run()
except BaseException as end:
    sys.exit(getattr(end, "exit_code", 99))
"""


class Run:
    """A watchdog with a worker below it."""

    def __init__(self, tmp_path: Path, fault: str, code: int, hang_seconds: float) -> None:
        arguments = [str(tmp_path / "lives"), fault, str(code), str(hang_seconds)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def line(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def worker(self) -> int:
        word, pid = self.line()
        assert word == "life"
        return int(pid)

    def end(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


Start = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[Run] = []

    def begin(fault: str = "-", code: int = 0, hang_seconds: float = 3.0) -> Run:
        made.append(Run(tmp_path, fault, code, hang_seconds))
        return made[-1]

    yield begin
    for run in made:
        run.process.kill()
        run.process.communicate()


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("sleep", ["stands still", "in sleep"]),
        ("hold_the_lock", ["stands still", "in hold_the_lock"]),
        ("crash", ["broken on purpose", "ended in a fault"]),
        ("kill", ["ended by SIGKILL"]),
    ],
)
def test_a_worker_that_hangs_or_crashes_is_started_again_with_the_reason_in_the_log(
    start: Start, fault: str, words: list[str]
) -> None:
    run = start(fault)
    first = run.worker()
    second = run.worker()
    assert first != second
    assert is_gone(first)
    run.process.terminate()
    assert run.line() == ["stopped"]
    code, said = run.end()
    assert code == 0
    assert all(word in said for word in words), said


@pytest.mark.parametrize("code", [0, 1, 5])
def test_a_worker_that_ends_by_itself_ends_the_command_with_its_exit_status(start: Start, code: int) -> None:
    run = start(code=code)
    os.kill(run.worker(), signal.SIGTERM)
    assert run.line() == ["stopped"]
    assert run.end()[0] == code


def test_a_fault_while_it_is_told_to_stop_is_no_reason_to_start_again(start: Start) -> None:
    run = start(code=CRASHED)
    run.worker()
    run.process.send_signal(signal.SIGINT)
    assert run.line() == ["stopped"]
    assert run.end()[0] == 1


def wakes(pid: int) -> int:
    return int(psutil.Process(pid).num_ctx_switches().voluntary)


@pytest.mark.parametrize("who", ["the worker", "both"])
async def test_a_worker_that_is_stopped_for_a_while_does_not_hang(start: Start, who: str) -> None:
    run = start(hang_seconds=2.0)
    pid = run.worker()
    os.kill(pid, signal.SIGSTOP)
    await until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    if who == "both":
        run.process.send_signal(signal.SIGSTOP)
        await until(lambda: psutil.Process(run.process.pid).status() == psutil.STATUS_STOPPED)
        await asyncio.sleep(3.0)  # longer than it may hang
        run.process.send_signal(signal.SIGCONT)
    else:
        before = wakes(run.process.pid)
        await until(lambda: wakes(run.process.pid) > before + 200)  # it has looked for longer than it may hang
    os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGUSR2)
    assert run.line() == ["alive", str(pid)]
    run.process.terminate()
    assert run.line() == ["stopped"]
    assert run.end()[0] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it notices with its next sign of life")
def test_a_killed_watchdog_takes_a_worker_with_it_that_hangs(start: Start) -> None:
    run = start("hold_the_lock", hang_seconds=0)
    pid = run.worker()
    run.process.kill()
    run.process.wait(60)
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=60)
    assert is_gone(pid)


async def test_ctrl_c_on_a_terminal_reaches_the_worker_once_and_ctrl_z_stops_both(start: Start) -> None:
    run = start()
    pid = run.worker()
    assert os.getpgid(pid) == pid
    run.process.send_signal(signal.SIGTSTP)
    await until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    await until(lambda: psutil.Process(run.process.pid).status() == psutil.STATUS_STOPPED)
    run.process.send_signal(signal.SIGCONT)
    await until(lambda: psutil.Process(pid).status() != psutil.STATUS_STOPPED)
    run.process.send_signal(signal.SIGINT)
    assert run.line() == ["stopped"]
    assert run.end()[0] == 0


def test_stacks_are_whole_when_the_main_thread_s_are_there_and_no_more_comes() -> None:
    with TemporaryFile() as file:
        stacks = _Stacks(file)
        said = ""
        for line in (
            "Thread 0x1 (most recent call first):\n",
            '  File "a.py", line 1 in wait\n',
            "\nCurrent thread 0x2:\n",
        ):
            file.write(line.encode())
            file.flush()
            said += line
            assert stacks.whole() is None
        assert stacks.whole() is None
        assert stacks.so_far == said
        for line in ('  File "b.py", line 2 in sleep\n', '  File "c.py", line 3 in <module>\n'):
            file.write(line.encode())
            file.flush()
            said += line
            assert stacks.whole() is None
        assert stacks.whole() == said
        # The process writes on where the position is, which is one for both.
        file.seek(1)
        assert (stacks.whole(), file.tell()) == (said, 1)
