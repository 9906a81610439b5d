"""One confined process, seen from the server: started, asked, waited for no longer than allowed, and killed.

It holds no key, no connection and no setting of the server. What it answers is what a stranger's file may have made of
it: so nothing that it says, or fails to say, may hold the server up or fill its memory.
"""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator

from runflow.sandbox.confine import environment
from runflow.sandbox.connection import SIZE_BYTES

_GONE = "its process was gone."


class ProcessFailed(Exception):
    """The process gave no answer and must be ended. The text says why and can end a sentence: "it took longer …"."""


class ProcessSlow(ProcessFailed):
    """The process did not take a message, or did not answer, in its time."""


class ProcessGone(ProcessFailed):
    """The process had ended before it took the message."""


class ConfinedProcess:
    """A process that runs a module of ours which speaks through a `ServerConnection`."""

    def __init__(self, process: Process, answer_bytes: int) -> None:
        self._process = process
        self._answer_bytes = answer_bytes
        self.greeting = b""
        """The answer that said that it is ready."""

    @classmethod
    async def start(cls, module: str, *, answer_bytes: int) -> "ConfinedProcess":
        """Start a process whose answers have at most so many bytes; it is not ready yet.

        Raises OSError where the machine cannot do that now.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", module),
            stdin=PIPE,
            stdout=PIPE,
            env=environment(),
            # Ctrl-C is the server's to handle; and what the process starts is killed with it.
            start_new_session=True,
        )
        return cls(process, answer_bytes)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended, as far as the event loop knows."""
        return self._process.returncode is None

    async def send(self, message: bytes, *, seconds: float) -> None:
        """Send a message. Raises `ProcessFailed`."""
        await self.send_stream(_once(message), len(message), seconds=seconds)

    async def send_stream(self, content: AsyncIterator[bytes], size_bytes: int, *, seconds: float) -> None:
        """Send a message of so many bytes as they come. Raises `ProcessFailed`, and what reading `content` raises.

        The seconds count for reading `content`, too.
        """
        left = size_bytes
        try:
            async with asyncio.timeout(seconds):
                await self._write(size_bytes.to_bytes(SIZE_BYTES))
                async for chunk in content:
                    left -= len(chunk)
                    if left < 0:
                        # The rest would pass for the next message, with an answer that somebody else gets.
                        raise ProcessFailed("it was sent more than was announced.")
                    await self._write(chunk)
        except TimeoutError:
            raise ProcessSlow(_slow(seconds)) from None

    async def _write(self, chunk: bytes) -> None:
        assert self._process.stdin is not None
        if self._process.stdin.is_closing():
            raise ProcessGone(_GONE)  # uvloop would raise a RuntimeError
        try:
            self._process.stdin.write(chunk)
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ProcessGone(_GONE) from error

    async def receive(self, *, seconds: float) -> bytes:
        """Return the next answer. Raises `ProcessFailed`."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                try:
                    size = int.from_bytes(await self._process.stdout.readexactly(SIZE_BYTES))
                    if size > self._answer_bytes:
                        raise ProcessFailed("its answer was too long.")
                    return await self._process.stdout.readexactly(size)
                except asyncio.IncompleteReadError as error:
                    code = await self._process.wait()
                    raise ProcessFailed(f"its process ended unexpectedly ({_ending(code)}).") from error
        except TimeoutError:
            raise ProcessSlow(_slow(seconds)) from None

    async def end(self) -> None:
        """Kill it, with what it has started, and wait until it is gone."""
        if self.is_running:  # else its number may be another's by now
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await asyncio.shield(self._process.wait())


async def _once(message: bytes) -> AsyncIterator[bytes]:
    yield message


def _slow(seconds: float) -> str:
    return f"it took longer than {seconds:g} seconds."


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
