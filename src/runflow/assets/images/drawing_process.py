"""The process that draws thumbnails, seen from the server: who waits for it, and what it means that it says nothing.

What kills it is a picture without a thumbnail.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog

from runflow.sandbox.pool import IDLE_SECONDS, ProcessPool
from runflow.sandbox.process import ConfinedProcess, ProcessFailed, ProcessSlow

log = structlog.get_logger()

DRAW_SECONDS = 5.0
PATIENCE_SECONDS = 5.0
"""How long one picture waits for those before it; then it goes without, until somebody reads its asset."""
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
        self._pool = ProcessPool(
            "runflow.assets.images.drawing", idle_seconds=idle_seconds, answer_bytes=MAX_THUMBNAIL_BYTES
        )

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
        except ProcessFailed:
            return None
        finally:
            self._turn.release()

    async def _draw(self, content: AsyncIterator[bytes], size_bytes: int) -> bytes | None:
        async with contextlib.AsyncExitStack() as stack:
            process = await self._ready(stack)
            try:
                await process.send_stream(content, size_bytes, seconds=SEND_SECONDS)
            except ProcessSlow:
                # Storage may be slow; that says nothing of the picture.
                raise Busy from None
            return await process.receive(seconds=self._draw_seconds) or None

    async def _ready(self, stack: contextlib.AsyncExitStack) -> ConfinedProcess:
        """Return the process until the stack is left. Raises `Busy` where the machine cannot start it now."""
        try:
            return await stack.enter_async_context(self._pool.process())
        except (OSError, ProcessFailed) as error:
            log.warning("cannot start the process that draws thumbnails", error=repr(error))
            raise Busy from error

    async def close(self) -> None:
        """End the process, if there is one."""
        await self._pool.close()
