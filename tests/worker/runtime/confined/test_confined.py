"""A build command of strangers: what it sees, what it may use, what it says, and that nothing of it is left."""

import asyncio
import io
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from runflow.worker.engine.isolation.rungs import FIRST_BUILD_UID, Rung
from runflow.worker.engine.isolation.view import folders_of_python
from runflow.worker.runtime.commands import InstallError
from runflow.worker.runtime.confined.confined import run_confined
from runflow.worker.runtime.confined.confinement import candidates
from runflow.worker.runtime.confined.said import KEPT_BYTES
from tests.support.shut_in import LEAVES_A_PROGRAM, RIGHTS, SAYS, TRIES, assert_has_no_right, named, victim, with_given
from tests.support.waiting import until
from tests.worker.runtime.bench import SMALL, Bench

OWN = {
    *("queue", "memory by name", "tmp", "list token", "udp", "watch"),
    *("priority of all", "I/O priority of all", "comfyui's mode", "comfyui's times"),
}
"""What is a build's own where it has a view of its own, or is only said to be done: `victim` looks at the files."""


async def test_it_gets_nothing_of_the_machine(bench: Bench) -> None:
    given = bench.folder / "comfy"
    given.mkdir()
    (given / "main.py").write_text("print('main')\n")
    (bench.work / "output").mkdir()
    with victim(bench.folder, os.geteuid()) as hunted:
        code = f"import os\nos.chdir({str(given)!r})\n{with_given(TRIES, hunted)}{SAYS}"
        result = await bench.run(code, readable=[given], environment={"BASE": str(bench.work)})
    got = next((line for line in result.tail.splitlines() if line.startswith("got ")), result.tail)
    assert set(eval(got.removeprefix("got "))) <= (OWN if bench.sandbox.has_view else set()), result.tail


async def test_it_has_no_right_and_gets_none(bench: Bench) -> None:
    result = await bench.run(RIGHTS)
    if bench.sandbox.rung is not Rung.NAMESPACES and os.geteuid() != 0:
        pytest.skip("what rights a plain user's programs could get is in the tests of the rungs")
    assert_has_no_right(result.tail)


async def test_what_it_is_told_is_made_from_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUNFLOW_TOKEN", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "UV_INDEX_URL"):
        monkeypatch.setenv(name, "secret")
    result = await bench.run(
        """
        import os
        for name in sorted(os.environ): print(name, os.environ[name])
        open(os.environ["HOME"] + "/mine", "w").close(); open(os.environ["TMPDIR"] + "/mine", "w").close()
        """,
        environment={"MAX_JOBS": "2"},
    )
    assert result.is_good, result.tail
    assert "secret" not in result.tail
    assert "MAX_JOBS 2" in result.tail
    assert {path.parent.name for path in bench.work.rglob("mine")} == {"home", "tmp"}


async def test_it_reads_what_it_is_given_and_writes_to_one_folder(bench: Bench) -> None:
    given, beside = bench.folder / "given", bench.folder / "other runtime"
    for folder in (given, beside):
        folder.mkdir()
        (folder / "file").write_text("content")
    result = await bench.run(
        f"""
        import os
        assert open({str(given / "file")!r}).read() == "content"
        for place in ({str(given / "new")!r}, {str(beside / "new")!r}, "/usr/new", "/etc/new", "/new",
                      {str(bench.folder / "new")!r}):
            try: open(place, "w"); print("wrote", place)
            except OSError: pass
        for place in ({str(beside / "file")!r}, {str(bench.log)!r}, {str(Path("~/.profile").expanduser())!r},
                      {str(Path(__file__))!r}):
            try: open(place); print("read", place)
            except OSError: pass
        open("mine", "w").write("x")
        print("done")
        """,
        readable=[given],
    )
    assert result.tail == "done"
    assert (bench.work / "mine").read_text() == "x"


async def test_as_root_it_is_a_user_that_no_engine_is(best: Bench) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has users to give")
    result = await best.run("import os; open('mine', 'w').close(); print(os.getuid())")
    assert result.tail != "0"
    assert FIRST_BUILD_UID < (best.work / "mine").stat().st_uid < FIRST_BUILD_UID + 16


async def test_no_other_user_gets_to_what_it_left(bench: Bench) -> None:
    (bench.work / "output").mkdir()
    result = await bench.run(LEAVES_A_PROGRAM, environment={"BASE": str(bench.work)})
    assert result.tail == "left"
    assert bench.work.stat().st_mode & 0o007 == 0


DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("begun", "w").close()
        while True: time.sleep(1)
    os._exit(0)
while not os.path.exists("begun"): time.sleep(0.01)
"""


async def test_a_daemon_ends_with_it(bench: Bench) -> None:
    result = await bench.run(f"word = {bench.folder.name!r}\n{DAEMON}")
    assert result.is_good
    assert (bench.work / "begun").exists()
    assert not named(bench.folder.name)


WORKER = """
import asyncio, sys
from pathlib import Path
from runflow.worker.engine.isolation.rungs import Rung, Sandbox
from runflow.worker.runtime.confined.confined import run_confined
sandbox = eval(sys.argv[2])
folder = Path(sys.argv[1])
asyncio.run(run_confined([sys.argv[3], "-c", sys.argv[4]], writable=folder / "work",
    readable=[Path(place) for place in sys.argv[5:]], environment={}, seconds=600, memory_bytes=1 << 30,
    disk_bytes=1 << 30, most_processes=64, log=folder / "build.log", sandbox=sandbox))
"""


async def test_it_ends_with_the_worker(bench: Bench) -> None:
    held = bench.sandbox
    said = f"Sandbox(Rung({held.rung.value!r}), privileged={held.privileged}, users={held.users}, network=False)"
    code = f"word = {bench.folder.name!r}\n{DAEMON}\nwhile True: time.sleep(1)"
    readable = folders_of_python(bench.python, bench.work)
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(bench.folder), said, str(bench.python), code, *map(str, readable)]
    )
    await until(lambda: (bench.work / "begun").exists())
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    await until(lambda: not named(bench.folder.name))


async def test_what_takes_too_long_is_ended_with_all_that_it_started(bench: Bench) -> None:
    code = f"word = {bench.folder.name!r}\n{DAEMON}\nwhile True: time.sleep(1)"
    result = await bench.run(code, limits=replace(SMALL, seconds=3.0))
    assert (result.timed_out, result.is_good) == (True, False)
    assert result.why == "It took longer than 3 seconds."
    assert not named(bench.folder.name)


async def test_memory_of_one_process_is_bounded(bench: Bench) -> None:
    result = await bench.run("held = bytearray(1 << 30)")
    assert "MemoryError" in result.tail


async def test_memory_of_all_processes_is_bounded(bench: Bench) -> None:
    result = await bench.run(
        """
        import os, time
        for _ in range(3): os.fork()
        held = bytearray(os.urandom(1 << 20)) * 100
        time.sleep(600)
        """
    )
    assert result.why == f"It used more than {SMALL.memory_bytes} bytes of memory."


async def test_no_memory_is_had_that_is_no_process_s_own(bench: Bench) -> None:
    result = await bench.run(
        """
        import ctypes, os
        try: os.memfd_create("x"); print("got a file in memory")
        except OSError: pass
        if ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600) >= 0: print("got a segment")
        print("done")
        """
    )
    assert result.tail == "done"


async def test_what_it_writes_is_bounded(bench: Bench) -> None:
    result = await bench.run(
        """
        import os, time
        os.makedirs("a/b")
        for number in range(100):
            with open(f"a/b/{number}", "wb") as file:
                for _ in range(8): file.write(os.urandom(1 << 20))
        time.sleep(600)
        """
    )
    assert result.why == f"It wrote more than {SMALL.disk_bytes} bytes."


async def test_one_file_is_bounded_by_the_kernel(bench: Bench) -> None:
    code = "import os, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); os.posix_fallocate(1, 0, 1 << 40)"
    result = await bench.command("/bin/sh", "-c", f"exec {bench.python} -c '{code}' > large")
    assert not result.is_good
    assert (bench.work / "large").stat().st_size == 0


async def test_what_is_hidden_from_the_count_ends_it(bench: Bench) -> None:
    result = await bench.run(
        """
        import os, time
        for _ in range(2000):
            os.mkdir("deep"); os.chdir("deep")
        time.sleep(600)
        """
    )
    assert result.why is not None
    assert result.why.startswith("What it wrote cannot be counted")


async def test_its_processes_are_bounded(bench: Bench) -> None:
    result = await bench.run(
        """
        import os, time
        made = 0
        try:
            while made < 300:
                if os.fork() == 0: time.sleep(600); os._exit(0)
                made += 1
        except OSError: pass
        print("made", made, flush=True)
        if made == 300: time.sleep(600)
        """
    )
    if os.geteuid() == 0 and bench.sandbox.users is None:  # the kernel does not bound the processes of root's number
        assert bench.sandbox.rung not in {one.rung for one in candidates() if one.users is None}
    else:
        # Of a user that has other processes, too, these are counted at the start, and some may have ended since.
        assert int(result.tail.split()[1]) < 2 * SMALL.most_processes


async def test_a_flood_keeps_head_and_tail(bench: Bench) -> None:
    result = await bench.run(
        """
        print("the head")
        for number in range(40_000): print(number, "x" * 100)
        print("the tail")
        """
    )
    kept = bench.log.read_bytes()
    assert len(kept) < KEPT_BYTES + 100
    assert kept.startswith(b"the head\n0 xxx")
    assert kept.endswith(b"the tail\n")
    assert b"bytes are left out here]" in kept
    assert result.tail.endswith("the tail")


async def test_a_log_that_is_open_stays_open(best: Bench) -> None:
    log = io.BytesIO(b"")
    await run_confined(
        ["/bin/echo", "said"],
        writable=best.work,
        readable=[],
        environment={},
        seconds=60,
        memory_bytes=1 << 30,
        disk_bytes=1 << 30,
        most_processes=64,
        log=log,
    )
    assert log.getvalue() == b"said\n"


async def test_a_second_command_finds_no_way_out_by_what_the_first_left(bench: Bench) -> None:
    """The temporary folder that is shown to it at /tmp must not be another one that a link names."""
    secret = bench.folder / "secret"
    secret.mkdir()
    await bench.run(f"import os; os.rmdir('tmp'); os.symlink({str(secret)!r}, 'tmp')")
    result = await bench.run(f"import tempfile; tempfile.mkstemp(); print({str(secret)!r})")
    assert result.is_good, result.tail
    assert not (bench.work / "tmp").is_symlink()
    assert not any(secret.iterdir())


async def test_what_is_read_holds_not_what_is_written(best: Bench) -> None:
    for folder in (best.folder, best.work, best.work / "in"):
        folder.mkdir(exist_ok=True)
        with pytest.raises(InstallError, match="may not read"):
            await best.command("/bin/true", readable=[folder])


async def test_a_worker_that_stops_ends_it(best: Bench) -> None:
    task = asyncio.create_task(best.run(f"word = {best.folder.name!r}\n{DAEMON}\nwhile True: time.sleep(1)"))
    await until(lambda: (best.work / "begun").exists())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not [process for process in named(best.folder.name) if process.pid != psutil.Process().pid]
