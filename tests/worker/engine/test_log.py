"""What an engine prints: each line with its time and the run that executes, whatever it prints."""

import asyncio
import os
import re
import resource
import sys
from pathlib import Path

import pytest

from runflow.worker.engine import log as engine_log
from runflow.worker.engine.log import EngineLog
from runflow.worker.engine.process import EngineProcess
from tests.support.waiting import until

TIME = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def told(log: EngineLog) -> bytes:
    """Return all that the file holds once what was said is in it."""
    log.tail()
    return log.path.read_bytes()


def process(tmp_path: Path, code: str) -> EngineProcess:
    command, env = [sys.executable, "-c", code], {"PATH": os.environ["PATH"]}
    return EngineProcess(command, cwd=tmp_path, env=env, log_path=tmp_path / "e.log", pid_path=tmp_path / "e.pid")


async def test_lines_carry_the_time_and_the_run_that_executes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_log, "AFTERWARDS_SECONDS", 0.0)
    log = EngineLog(tmp_path / "engine.log")
    written = log.open()
    os.write(written, b"before\n")
    told(log)
    log.note_run("run-1")
    os.write(written, b" 10%\r 50%")
    told(log)
    os.write(written, b"\r100%\r\n\nlast\n")
    told(log)
    log.note_run("run-2")
    os.write(written, b"other\n")
    told(log)
    log.note_run(None)
    os.write(written, b"idle")
    os.close(written)
    said = (b"- before", rb"run-1  10%\r 50%\r100%\r", b"run-1 ", b"run-1 last", b"run-2 other", b"- idle")
    expected = rb"\n".join(TIME + b" " + line for line in said)
    assert re.fullmatch(expected, told(log)), told(log)
    assert log.tail() == "before\n 10%\r 50%\r100%\r\n\nlast\nother\nidle"
    log.close()


async def test_what_is_printed_is_in_the_file_without_being_asked_for(tmp_path: Path) -> None:
    log = EngineLog(tmp_path / "engine.log")
    written = log.open()
    os.write(written, b"a bar that is not at its end")
    await until(lambda: log.path.read_bytes().endswith(b"- a bar that is not at its end"))
    os.close(written)
    log.close()


async def test_a_run_has_the_last_word_about_itself(tmp_path: Path) -> None:
    """ComfyUI says that it succeeded before it prints how long that took."""
    log = EngineLog(tmp_path / "engine.log")
    written = log.open()
    log.note_run("run-1")
    log.note_run(None)
    os.write(written, b"Prompt executed in 0.10 seconds\n")
    assert re.fullmatch(TIME + rb" run-1 Prompt executed in 0.10 seconds\n", told(log))
    os.close(written)
    log.close()


async def test_the_last_words_of_an_engine_that_ended_are_there(tmp_path: Path) -> None:
    code = "import sys; print('x' * 60000, flush=True); sys.stderr.write('last words'); sys.exit(3)"
    engine = process(tmp_path, code)
    await engine.start()
    assert await engine.wait() == 3
    assert engine.log_tail().endswith("xxxx\nlast words")
    await engine.kill()


async def test_neither_bytes_nor_lines_without_an_end_are_changed(tmp_path: Path) -> None:
    code = "import sys\nfor _ in range(64): sys.stdout.buffer.write(bytes(n for n in range(256) if n != 10) * 300)"
    engine = process(tmp_path, code)
    await engine.start()
    assert await engine.wait() == 0
    await engine.kill()
    said = bytes(n for n in range(256) if n != 10) * 300 * 64
    stamp = re.match(TIME + b" - ", written := (tmp_path / "e.log").read_bytes())
    assert stamp is not None
    assert written[stamp.end() :] == said


@pytest.mark.parametrize("end", ["\\n", "\\r"], ids=["lines", "one line"])
async def test_a_log_that_grows_too_long_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    monkeypatch.setattr(engine_log, "LIMIT_BYTES", 100_000)
    engine = process(tmp_path, f"for number in range(100_000): print(f'number {{number}}', end='{end}')")
    await engine.start()
    assert await engine.wait() == 0
    assert engine.log_tail().split()[-4:] == ["number", "99998", "number", "99999"]
    await engine.kill()
    assert {path.name for path in tmp_path.iterdir()} == {"e.log", "e.log.1"}
    for path in (tmp_path / "e.log", tmp_path / "e.log.1"):
        assert path.stat().st_size < 1_000_000
        assert oct(path.stat().st_mode & 0o777) == "0o640"


async def test_a_full_disk_stops_no_engine(tmp_path: Path) -> None:
    """What cannot be written is lost, and the engine goes on: it is not the one who writes the file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    engine = process(tmp_path, "import sys\nfor _ in range(10_000): print('x' * 100)\nsys.exit(7)")
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        await engine.start()
        assert await asyncio.wait_for(engine.wait(), 60) == 7
        engine.log_tail()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    await engine.kill()
    assert (tmp_path / "e.log").stat().st_size <= 20_000


async def test_the_end_of_an_engines_log_is_its_own_while_a_newer_engine_has_the_path(tmp_path: Path) -> None:
    """What it says goes into a failure that its organization reads: the newer engine may be another's."""
    older, newer = EngineLog(tmp_path / "engine.log"), EngineLog(tmp_path / "engine.log")
    ours = older.open()
    os.write(ours, b"of the first organization\n")
    told(older)
    theirs = newer.open()
    os.write(theirs, b"SecretError: of the second organization\n")
    assert newer.tail() == "SecretError: of the second organization\n"
    os.write(ours, b"and its end\n")
    os.close(ours)
    assert older.tail() == "of the first organization\nand its end\n"
    older.close()
    assert older.tail() == "of the first organization\nand its end\n"
    os.close(theirs)
    newer.close()


async def test_a_long_log_does_not_set_the_one_of_a_newer_engine_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_log, "LIMIT_BYTES", 100)
    older, newer = EngineLog(tmp_path / "engine.log"), EngineLog(tmp_path / "engine.log")
    ours, theirs = older.open(), newer.open()
    os.write(theirs, b"the newer engine\n")
    told(newer)
    for part in (b"1" * 200, b"2" * 200, b"3"):
        os.write(ours, part + b"\n")
        told(older)
    assert newer.path.read_bytes().endswith(b"the newer engine\n")
    set_aside = newer.path.with_suffix(".log.1").read_bytes()
    assert set_aside.endswith(b"3\n") and len(set_aside) < 400
    assert older.tail().endswith("1\n" + "2" * 200 + "\n3\n")
    for log, written in ((older, ours), (newer, theirs)):
        os.close(written)
        log.close()
