"""The process that draws thumbnails, seen from the server: started for the first picture, killed when one takes long.

It holds no key, no connection and no setting of the server. What kills it is a picture without a thumbnail.
"""

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator

import structlog

from runflow.assets.images.drawing import SIZE_BYTES
from runflow.sandbox.confine import environment
from runflow.storage.store import once

log = structlog.get_logger()

DRAW_SECONDS = 5.0
PATIENCE_SECONDS = 5.0
"""How long one picture waits for those before it; then it goes without, until somebody reads its asset."""
IDLE_SECONDS = 60.0
"""Without a picture for so long the process ends: an idle server keeps none."""
START_SECONDS = 60.0
SEND_SECONDS = 60.0
MAX_THUMBNAIL_BYTES = 4 * 1024 * 1024


class Busy(Exception):
    """Other pictures are being drawn, or none can be right now."""


class DrawingProcess:
    """Draws one picture at a time."""

    def __init__(
        self,
        *,
        draw_seconds: float = DRAW_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        """Prepare; nothing is started before there is a picture."""
        self._turn = asyncio.Lock()
        self._draw_seconds = draw_seconds
        self._patience_seconds = patience_seconds
        self._idle_seconds = idle_seconds
        self._process: Process | None = None
        self._ending: asyncio.TimerHandle | None = None

    async def draw(self, content: AsyncIterator[bytes], size_bytes: int) -> bytes | None:
        """Return the thumbnail of a picture of so many bytes; None for what cannot be read, or not soon.

        Raises `Busy`, and what reading `content` raises.
        """
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._turn.acquire()
        except TimeoutError:
            raise Busy from None
        try:
            return await self._draw(content, size_bytes)
        finally:
            self._turn.release()

    async def _draw(self, content: AsyncIterator[bytes], size_bytes: int) -> bytes | None:
        if self._ending is not None:
            self._ending.cancel()
        process = await self._running()
        done = False
        try:
            # Storage may be slow; that says nothing of the picture.
            async with asyncio.timeout(SEND_SECONDS):
                await _send(process, content, size_bytes)
            small = await self._drawn(process)
            done = True
        except TimeoutError:
            raise Busy from None
        finally:
            if done:
                self._ending = asyncio.get_running_loop().call_later(self._idle_seconds, self._kill)
            else:
                # What it says next would belong to nobody.
                self._kill()
        return small or None

    async def _drawn(self, process: Process) -> bytes | None:
        """Return the answer; None, and no process any more, when there is none in time."""
        try:
            async with asyncio.timeout(self._draw_seconds):
                return await _answer(process)
        except (TimeoutError, asyncio.IncompleteReadError):
            self._kill()
            return None

    async def _running(self) -> Process:
        """Return the process, started where there is none. Raises `Busy` where the machine cannot do that now."""
        if self._process is not None and self._process.returncode is None:
            return self._process
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-P", "-m", "runflow.assets.images.drawing"),
                stdin=PIPE,
                stdout=PIPE,
                env=environment(),
                start_new_session=True,  # Ctrl-C is the server's to handle
            )
            # An empty picture has no thumbnail: the answer says that the process is there.
            async with asyncio.timeout(START_SECONDS):
                await _send(self._process, once(b""), 0)
                await _answer(self._process)
        except (OSError, asyncio.IncompleteReadError) as error:  # a TimeoutError is an OSError
            self._kill()
            log.warning("cannot start the process that draws thumbnails", error=repr(error))
            raise Busy from error
        except BaseException:
            self._kill()
            raise
        return self._process

    def _kill(self) -> None:
        """End the process and forget it; the event loop collects it."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def close(self) -> None:
        """End the process, if there is one."""
        if self._ending is not None:
            self._ending.cancel()
        process = self._process
        self._kill()
        if process is not None:
            await process.wait()


async def _send(process: Process, content: AsyncIterator[bytes], size_bytes: int) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # then there is no answer either
        process.stdin.write(size_bytes.to_bytes(SIZE_BYTES))
        async for chunk in content:
            process.stdin.write(chunk)
            await process.stdin.drain()
        await process.stdin.drain()


async def _answer(process: Process) -> bytes:
    assert process.stdout is not None
    size = int.from_bytes(await process.stdout.readexactly(SIZE_BYTES))
    if size > MAX_THUMBNAIL_BYTES:
        raise asyncio.IncompleteReadError(b"", size)
    return await process.stdout.readexactly(size)
