"""A program on the rung Landlock, as root with a user of its own, as root's number, and as a plain user."""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from runflow.worker.engine.isolation import landlock
from runflow.worker.engine.isolation.probe import probe
from runflow.worker.engine.isolation.rungs import USERS_PER_WORKER, Rung, Sandbox, first_uid, let_reach, make_life
from tests.support.shut_in import DAEMON as LASTING
from tests.support.shut_in import (
    LEAVES_A_PROGRAM,
    SAYS,
    TRIES,
    assert_nobody_else_gets_to,
    named,
    victim,
    with_given,
)
from tests.support.waiting import until
from tests.worker.engine.isolation.conftest import (
    PLAIN_UID,
    SYSTEM_PYTHON,
    Held,
    make_runtime,
    plain_held,
    run_as_plain_user,
)

pytestmark = pytest.mark.skipif(landlock.version() < landlock.SIGNALS_SINCE, reason="Landlock of Linux 6.12 is needed")

KINDS = ("own user", "root's number", "plain user", "named user")
NAMED_UID = 64_998
"""Of RUNFLOW_ENGINE_USER, which every engine has."""
OWNERS = {"own user": 0, "root's number": 0, "plain user": PLAIN_UID, "named user": NAMED_UID}

WORKS = """
own, other = socket.socketpair()
own.send(b"x"); assert other.recv(1) == b"x"
open(os.environ["BASE"] + "/output/mine", "w").close()
os.replace(os.environ["BASE"] + "/output/mine", os.environ["BASE"] + "/temp/mine")
shutil.copy2(os.environ["BASE"] + "/temp/mine", os.environ["BASE"] + "/output/mine")
open("/dev/null", "w").write("x")
import sqlite3, tempfile, zipfile
os.environ["TMPDIR"] = os.environ["BASE"] + "/tmp"
with tempfile.NamedTemporaryFile() as made, tempfile.TemporaryDirectory() as place:
    os.fchmod(made.fileno(), 0o644); os.utime(made.fileno(), (5, 5)); made.write(b"x"); made.truncate(0)
    shutil.copytree(os.environ["BASE"] + "/output", place + "/copy")
    shutil.make_archive(place + "/all", "gztar", place + "/copy")
    shutil.unpack_archive(place + "/all.tar.gz", place + "/out")
    with sqlite3.connect(place + "/base") as base:
        base.execute("PRAGMA journal_mode=WAL"); base.execute("create table one (two)")
        base.execute("insert into one values (1)")
    base.close()
    open(place + "/base", "w").close()
assert open("/proc/self/stat").read() and open("/proc/meminfo").read() and os.listdir("/proc/self/fd")
assert os.system("/bin/true") == 0
status = dict(line.rstrip().split(":", 1) for line in open("/proc/self/status"))
named = ("CapEff", "CapPrm", "CapBnd") if given["is_root"] else ("CapEff",)
rights = {status[name].strip() for name in named}
assert rights == {"0" * 16} and status["NoNewPrivs"].strip() == "1", status
"""


SAYS_OF_COMFYUI = """
import os
print(os.listdir("user"))
for name in ("user", "models"):
    try:
        print(f"{name}: {open(name + '/key').read()}")
    except PermissionError:
        print(f"{name} is closed")
"""
GROWS = """
import os, time
made = 0
while made < 60:
    try:
        if os.fork() == 0:
            time.sleep(600)
    except OSError:
        break
    made += 1
print(made, flush=True)
with open(os.environ["BASE"] + "/output/large", "wb") as file:
    try:
        for _ in range(5):
            file.write(bytes(1 << 20)); file.flush()
    except OSError as error:
        print(error.errno, flush=True)
        time.sleep(5 if os.getuid() == 0 else 0)
        os._exit(0)
"""


def make_root_held(folder: Path, kind: str, *, network: bool = False) -> Held:
    """Make the rung for a worker that is root."""
    if os.geteuid() != 0:
        pytest.skip("only root has users to give")
    folder.chmod(0o755)
    runtime = make_runtime(folder, SYSTEM_PYTHON)
    uid = first_uid(folder) if kind == "own user" else None
    count = USERS_PER_WORKER
    if kind == "named user":
        uid, count = NAMED_UID, 1
    sandbox = Sandbox(Rung.LANDLOCK, privileged=True, users=uid, count=count, network=network)
    life = runtime.base_dir / "lives" / "one"
    life.parent.mkdir(mode=0o711)
    make_life(life, sandbox.uid(1))
    let_reach(runtime.base_dir, life, sandbox.uid(1))
    return Held(runtime, sandbox, life)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter: pytest's own is closed to others."""
    with tempfile.TemporaryDirectory(prefix="runflow-confine-") as folder:
        yield Path(folder)


async def run(held: Held, code: str, kind: str, **more: Any) -> str:
    """Run a program as the worker of this kind would, and return what it printed."""
    if kind == "plain user":
        return run_as_plain_user(held, code, **more)
    engine, given = held.process(code, **more)
    await engine.start_within(given)
    await engine.wait()
    await engine.kill()
    return engine.log_tail().strip()


def make_held(folder: Path, kind: str, *, network: bool = False) -> Held:
    if kind == "plain user":
        return plain_held(folder, Rung.LANDLOCK, network=network)
    return make_root_held(folder, kind, network=network)


@pytest.mark.parametrize("kind", KINDS)
async def test_it_gets_nothing_of_the_machine(kind: str, open_folder: Path) -> None:
    held = make_held(open_folder, kind)
    with victim(open_folder, OWNERS[kind]) as given:
        said = await run(held, with_given(TRIES + WORKS + SAYS, given), kind)
    assert said.splitlines()[0] == "got []", said
    assert int(said.splitlines()[1].split()[1]) >= 70


@pytest.mark.parametrize("kind", KINDS)
async def test_with_a_network_it_still_reaches_no_unix_socket(kind: str, open_folder: Path) -> None:
    held = make_held(open_folder, kind, network=True)
    with victim(open_folder, OWNERS[kind]) as given:
        said = await run(held, with_given(TRIES + WORKS + SAYS, given), kind)
    assert said.splitlines()[0] == "got ['tcp', 'udp']", said


@pytest.mark.parametrize("kind", KINDS)
async def test_what_somebody_left_in_comfyui_is_a_name_to_it(kind: str, open_folder: Path) -> None:
    held = make_held(open_folder, kind)
    comfyui = held.runtime.comfy_dir
    for name in ("user", "models"):
        (comfyui / name).mkdir()
        (comfyui / name / "key").write_text("secret")
    said = await run(held, SAYS_OF_COMFYUI, kind)
    assert said.splitlines() == ["['key']", "user is closed", "models: secret"]


@pytest.mark.parametrize("kind", KINDS)
async def test_its_processes_and_files_are_bounded(kind: str, open_folder: Path) -> None:
    limits = {"processes_at_most": 20, "file_bytes": 1 << 20}
    said = await run(make_held(open_folder, kind), GROWS, kind, limits=limits)
    if kind == "root's number":  # whose processes the kernel does not bound
        assert "more than 20 processes" in said
    else:
        processes, file_error = said.splitlines()
        assert int(processes) <= 20
        assert file_error == "27"


@pytest.mark.parametrize("known", [1, 3, 5])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "plain user"])
async def test_on_an_older_kernel_it_may_signal_those_of_its_user_and_no_more(
    kind: str, known: int, open_folder: Path
) -> None:
    held = make_root_held(open_folder, kind)
    script = altered(open_folder, "def version() -> int:\n", f"def version() -> int:\n    return {known}\n")
    with victim(open_folder, OWNERS[kind]) as given:
        engine, plan = held.process(with_given(TRIES + SAYS, given), script=str(script))
        await engine.start_within(plan)
        await engine.wait()
        await engine.kill()
    got = eval(engine.log_tail().splitlines()[0].removeprefix("got "))
    signals = {"own user": set(), "root's number": {"signal", "signal to the parent"}, "named user": {"signal"}}
    assert set(got) == signals[kind]


@pytest.mark.parametrize("kind", ["root's number", "plain user"])
async def test_nobody_can_run_what_it_left_of_the_workers_user(kind: str, open_folder: Path) -> None:
    held = make_held(open_folder, kind)
    assert await run(held, LEAVES_A_PROGRAM, kind) == "left"
    for name in ("left", "made"):
        assert_nobody_else_gets_to(held.life / "output" / name)


DAEMON = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    for _ in range(20):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                print("daemon", flush=True)
                while True:
                    time.sleep(0.001)
                    if os.fork():  # a child that is there when it is looked for is gone when it is ended
                        os._exit(0)
            os._exit(0)
    os._exit(0)
time.sleep(0.3)
print("ready", flush=True)
"""
GO_ON = "while True: time.sleep(1)\n"


@pytest.mark.parametrize("kind", KINDS[:2])
@pytest.mark.parametrize("how", ["kill", "end", "outside", "keeper"])
@pytest.mark.parametrize("one_call", [True, False])
async def test_what_it_started_ends_with_it(kind: str, how: str, one_call: bool, open_folder: Path) -> None:
    held = make_root_held(open_folder, kind)
    word = f"runflow-{open_folder.name}"
    engine, given = held.process(DAEMON + ("" if how == "end" else GO_ON))
    given["command"].append(word)
    if not one_call:
        one_by_one = "reaches_all = landlock.keep_signals() and not _reaches(outside)"
        given["script"] = str(altered(open_folder, one_by_one, "reaches_all = False"))
        given["alone"] = False
    await engine.start_within(given)
    assert engine.pid is not None
    if how == "end":
        assert await engine.wait() == 0
    else:
        await until(lambda: "ready" in engine.log_tail() and "daemon" in engine.log_tail())
        keeper = psutil.Process(engine.pid).children()[0]
        if how == "outside":
            os.kill(engine.pid, signal.SIGKILL)
            await until(lambda: not keeper.is_running() or keeper.status() == psutil.STATUS_ZOMBIE)
        elif how == "keeper":
            keeper.kill()
            await engine.wait()
        else:
            engine._has_keeper = True
            await engine.kill()
    assert named(word) == []
    await engine.kill()


STOPS = """
import ctypes, os, time
kill = ctypes.CDLL(None).kill
if os.fork() == 0:
    os.setsid()
    print("ready", flush=True)
    while True:
        kill(-1, 19)
while True: time.sleep(1)
"""


async def test_what_stops_whoever_would_end_it_ends(open_folder: Path) -> None:
    held = make_root_held(open_folder, "own user")
    word = f"runflow-{open_folder.name}"
    engine, given = held.process(STOPS)
    given["command"].append(word)
    one_by_one = "            _end_one_by_one()\n"
    given["script"] = str(altered(open_folder, one_by_one, "            pass\n"))
    text = (open_folder / "confine.py").read_text()
    text = text.replace("if not _reaches(keeper):", "time.sleep(0.2)\n            if not _reaches(keeper):")
    (open_folder / "confine.py").write_text(text.replace("keep_signals() and not", "keep_signals() and False and not"))
    (open_folder / "landlock.py").write_text(
        (open_folder / "landlock.py")
        .read_text()
        .replace("def version() -> int:\n", "def version() -> int:\n    return 5\n")
    )
    await engine.start_within(given)
    engine._has_keeper = True
    await until(lambda: "ready" in engine.log_tail())
    await engine.kill()
    left = named(word)
    for process in left:
        process.kill()
    assert left == []


@pytest.mark.parametrize("kind", KINDS[:2])
@pytest.mark.parametrize("what", ["_tasks_of_machine", "_descendants", "_end_user", "_end_one_by_one"])
async def test_it_ends_though_what_it_takes_is_used_up(kind: str, what: str, open_folder: Path) -> None:
    held = make_root_held(open_folder, kind)
    word = f"runflow-{open_folder.name}"
    engine, given = held.process(f"import time; time.sleep(0.5)\n{LASTING}")
    given["command"].append(word)
    (head,) = (
        line
        for line in (Path(landlock.__file__).parent / "confine.py").read_text().splitlines()
        if f"def {what}(" in line
    )
    first = int(what == "_tasks_of_machine")  # before the command it may fail
    fails = f"    _FAILED.append(1)\n    if {first} < len(_FAILED) < 5: raise OSError(23, 'no more files')\n"
    script = altered(open_folder, f"{head}\n", f"_FAILED = []\n{head}\n{fails}")
    script.write_text(script.read_text().replace("keep_signals() and not", "keep_signals() and False and not"))
    given["script"] = str(script)
    await engine.start_within(given)
    engine._has_keeper = True
    await until(lambda: "ready" in engine.log_tail() and "daemon" in engine.log_tail())
    await engine.kill()
    left = named(word)
    for process in left:
        process.kill()
    assert left == []


def altered(folder: Path, old: str, new: str) -> Path:
    """Make the rung's script as on another kernel: with one text of its files for another."""
    found = 0
    for name in ("confine.py", "enter.py", "kernel.py", "landlock.py", "pack_folders.py", "seccomp.py"):
        text = (Path(landlock.__file__).parent / name).read_text()
        found += text.count(old)
        (folder / name).write_text(text.replace(old, new))
    assert found == 1, f"{old!r} is not there"
    return folder / "confine.py"


def test_what_a_plain_user_started_ends_with_it(open_folder: Path) -> None:
    held = plain_held(open_folder, Rung.LANDLOCK)
    said = run_as_plain_user(held, f"word = 'runflow-plain-daemon'\n{DAEMON}")
    assert "daemon" in said
    assert named("runflow-plain-daemon") == []


async def test_it_is_found_where_namespaces_are_not(open_folder: Path) -> None:
    open_folder.chmod(0o755)
    runtime = make_runtime(open_folder, Path(sys.executable))
    sandbox = await probe(runtime, network=False, only=Rung.LANDLOCK)
    assert sandbox.rung is Rung.LANDLOCK
    assert sandbox.separates_files
    assert "Namespaces cannot be used" in (sandbox.why_not_better or "")
    assert not list(runtime.base_dir.glob("probe-*"))


async def test_a_comfyui_that_holds_the_engines_folder_is_refused(open_folder: Path) -> None:
    runtime = make_runtime(open_folder, SYSTEM_PYTHON)
    runtime = type(runtime)(open_folder / "comfy", SYSTEM_PYTHON, open_folder / "comfy" / "sub" / "base")
    runtime.base_dir.mkdir(parents=True)
    sandbox = await probe(runtime, network=False, only=Rung.LANDLOCK)
    assert sandbox.rung is Rung.NONE
    assert "holds the folder of the engines" in (sandbox.why_not_better or "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_what_a_signal_has_ended_is_seen_as_that(number: signal.Signals, open_folder: Path) -> None:
    held = make_held(open_folder, "own user")
    engine, given = held.process(f"import os; os.kill(os.getpid(), {int(number)})")
    await engine.start_within(given)
    assert await engine.wait() == -number
    await engine.kill()
