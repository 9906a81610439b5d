"""One confined process: whatever it does, its server hears why, soon, and is rid of it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from runflow.sandbox.process import ConfinedProcess, ProcessFailed, ProcessGone, ProcessSlow
from tests.sandbox.conftest import ANSWER_BYTES, ask
from tests.support.waiting import until

SOON = 0.2


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_messages_of_any_size_are_answered_in_their_order(process: ConfinedProcess) -> None:
    assert await ask(process, "echo") == ""
    assert await ask(process, "echo " + "x" * ANSWER_BYTES) == "x" * ANSWER_BYTES
    await process.send_stream(pieces(b"ec", b"ho ", b"", b"pieces"), 11, seconds=60)
    await process.send(b"echo second", seconds=60)
    assert [await process.receive(seconds=60) for _ in range(2)] == [b"pieces", b"second"]


async def test_a_process_that_hangs_is_not_waited_for(process: ConfinedProcess) -> None:
    with pytest.raises(ProcessSlow, match=r"^it took longer than 0\.2 seconds\.$"):
        await ask(process, "hang", SOON)
    await process.end()
    assert not process.is_running


async def test_a_process_that_does_not_take_its_message_is_not_waited_for(process: ConfinedProcess) -> None:
    await process.send(b"hang", seconds=60)
    with pytest.raises(ProcessSlow, match=r"longer than 0\.2 seconds"):
        await process.send(bytes(16 * 1024**2), seconds=SOON)


@pytest.mark.parametrize(
    ("message", "cause"), [("exit 3", "exit code 3"), ("signal 11", "signal 11"), ("half", "exit code 0")]
)
async def test_how_a_process_ended_is_told(process: ConfinedProcess, message: str, cause: str) -> None:
    with pytest.raises(ProcessFailed) as failed:
        await ask(process, message)
    assert str(failed.value) == f"its process ended unexpectedly ({cause})."


async def test_a_process_that_closes_its_output_and_lives_on_is_not_waited_for(process: ConfinedProcess) -> None:
    with pytest.raises(ProcessSlow):
        await ask(process, "fall_silent", SOON)


@pytest.mark.parametrize("size", [ANSWER_BYTES + 1, 2**64 - 1])
async def test_an_answer_that_is_too_long_is_not_read(process: ConfinedProcess, size: int) -> None:
    with pytest.raises(ProcessFailed, match=r"^its answer was too long\.$"):
        await ask(process, f"announce {size}")


async def test_an_answer_that_does_not_come_after_its_size_is_not_waited_for(process: ConfinedProcess) -> None:
    with pytest.raises(ProcessSlow):
        await ask(process, "announce 10", SOON)


async def test_a_process_that_is_gone_takes_no_message(process: ConfinedProcess) -> None:
    await process.end()
    with pytest.raises(ProcessGone, match="its process was gone"):
        # The pipe may take the first ones yet.
        await until(lambda: process.send(b"echo", seconds=60))


async def test_a_process_that_is_killed_while_it_is_sent_a_message_is_gone(process: ConfinedProcess) -> None:
    pid = int(await ask(process, "pid"))

    async def endless() -> AsyncIterator[bytes]:
        yield bytes(1000)
        os.kill(pid, signal.SIGKILL)
        while True:
            yield bytes(64 * 1024)
            await asyncio.sleep(0)

    with pytest.raises(ProcessGone):
        await process.send_stream(endless(), 2**63, seconds=60)


async def test_what_follows_a_message_is_not_taken_for_the_next_one(process: ConfinedProcess) -> None:
    smuggled = b"echo a" + (6).to_bytes(8) + b"echo b"
    with pytest.raises(ProcessFailed, match="more than was announced"):
        await process.send_stream(pieces(b"echo a", smuggled), 6, seconds=60)
    assert await process.receive(seconds=60) == b"a"
    with pytest.raises(ProcessSlow):
        await process.receive(seconds=SOON)


async def test_what_reading_the_content_raises_is_passed_on(process: ConfinedProcess) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError("the storage's, not the process's")

    with pytest.raises(ConnectionResetError, match="storage's"):
        await process.send_stream(broken(), 100, seconds=60)


async def test_content_that_does_not_come_is_not_waited_for(process: ConfinedProcess) -> None:
    async def slow() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    with pytest.raises(ProcessSlow):
        await process.send_stream(slow(), 100, seconds=SOON)


async def test_what_it_has_started_ends_with_it(process: ConfinedProcess) -> None:
    offspring = psutil.Process(int(await ask(process, "offspring")))
    await process.end()
    assert not process.is_running
    await until(lambda: not offspring.is_running() or offspring.status() == psutil.STATUS_ZOMBIE)
    await process.end()


async def test_settings_and_open_files_stay_with_the_server(
    module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RUNFLOW_SECRET_KEY", "secret")
    with (tmp_path / "open").open("wb") as file:
        descriptor = os.dup2(file.fileno(), 100, inheritable=False)  # as Python opens all files
        process = await ConfinedProcess.start(module, answer_bytes=ANSWER_BYTES)
        try:
            await process.receive(seconds=60)
            assert await ask(process, "variable RUNFLOW_SECRET_KEY") == "unset"
            assert await ask(process, f"descriptor {descriptor}") == "closed"
        finally:
            await process.end()
            os.close(descriptor)


async def test_a_folder_of_our_name_where_the_server_was_started_is_not_imported(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As beside a clone: `git clone …/runflow && runflow/.venv/bin/runflow up`."""
    (tmp_path / "runflow").mkdir()
    (tmp_path / "runflow" / "__init__.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    process = await ConfinedProcess.start(module, answer_bytes=ANSWER_BYTES)
    try:
        assert await process.receive(seconds=60) == b"ready"
    finally:
        await process.end()


async def test_a_machine_that_starts_no_process_says_so(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    with pytest.raises(OSError, match="No such file"):
        await ConfinedProcess.start(module, answer_bytes=ANSWER_BYTES)
