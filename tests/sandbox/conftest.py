"""A module for confined processes that does what the worst of files makes one do, on demand."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runflow.sandbox.process import ConfinedProcess

MODULE = "child_of_tests"
READY = b"ready"
ANSWER_BYTES = 1000

_CHILD = """
import os, resource, signal, subprocess, sys, time
from runflow.sandbox.connection import ServerConnection

def raw(content):
    server._answers.write(content)
    server._answers.flush()

def is_open(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return b"closed"
    return b"open"

def written(path):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with open(path, "wb", buffering=0) as file:
        return str(sum(file.write(bytes(1000)) for _ in range(2))).encode()

def taken(size):
    try:
        bytearray(size)
    except MemoryError:
        return b"refused"
    return b"taken"

DO = {
    "echo": lambda text: server.answer(text.encode()),
    "print": lambda text: (print(text, flush=True), os.write(1, text.encode()), server.answer(b"printed")),
    "pid": lambda _: server.answer(str(os.getpid()).encode()),
    "exit": lambda code: os._exit(int(code)),
    "signal": lambda number: os.kill(os.getpid(), int(number)),
    "hang": lambda _: time.sleep(600),
    "announce": lambda size: raw(int(size).to_bytes(8)),
    "half": lambda _: (raw((100).to_bytes(8) + b"half"), os._exit(0)),
    "fall_silent": lambda _: (server._answers.close(), time.sleep(600)),
    "offspring": lambda _: server.answer(str(subprocess.Popen(["sleep", "600"]).pid).encode()),
    "variable": lambda name: server.answer(os.environ.get(name, "unset").encode()),
    "descriptor": lambda number: server.answer(is_open(int(number))),
    "write": lambda path: server.answer(written(path)),
    "take": lambda size: server.answer(taken(int(size))),
    "core": lambda _: server.answer(str(resource.getrlimit(resource.RLIMIT_CORE)).encode()),
}

if "START" in os.environ:
    exec(os.environ["START"])
server = ServerConnection(memory_bytes=1024**3, file_bytes=1500)
server.answer(b"ready")
for message in server.messages():
    word, _, rest = message.decode().partition(" ")
    DO[word](rest)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let processes find the module; return its name."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / f"{MODULE}.py").write_text(_CHILD)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return MODULE


@pytest.fixture
async def process(module: str) -> AsyncIterator[ConfinedProcess]:
    process = await ConfinedProcess.start(module, answer_bytes=ANSWER_BYTES)
    try:
        assert await process.receive(seconds=60) == READY
        yield process
    finally:
        await process.end()


async def ask(process: ConfinedProcess, message: str, seconds: float = 60) -> str:
    """Send a message, and return the answer, waited for so long."""
    await process.send(message.encode(), seconds=60)
    return (await process.receive(seconds=seconds)).decode()
