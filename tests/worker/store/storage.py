"""A real HTTP server with one file, which counts, breaks off, changes and waits as a test orders."""

import asyncio
import hashlib
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from runflow.worker.store.fetch.blocks import Journal

BLOCK = 64 * 1024
_WRITE = 8 * 1024


def content_of(size: int, seed: str = "") -> bytes:
    """Return bytes that differ from place to place, the same for the same seed."""
    return hashlib.shake_128(seed.encode()).digest(size)


def whole_blocks(part: Path) -> list[tuple[int, int]]:
    """Return the blocks of `part` that its journal calls whole, none without a journal."""
    journal = Journal.load(part)
    if journal is None:
        return []
    missing = journal.missing()
    every = range(0, journal.total_bytes, BLOCK)
    whole = [(start, min(start + BLOCK, journal.total_bytes)) for start in every]
    return [block for block in whole if block not in missing]


class Storage:
    """Serves `content`; what else it does is in its attributes."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.headers = {"ETag": '"1"'}
        self.knows_ranges = True
        self.knows_if_range = True
        self.tells_size = True
        self.statuses: deque[int] = deque()
        """What the next requests are answered with."""
        self.breaks: deque[int] = deque()
        """After how many bytes the next answers break off."""
        self.before: Callable[[int], Awaitable[None]] | None = None
        """Awaited with the first byte's offset before an answer begins."""
        self.sent: Callable[[int], None] | None = None
        """Told how many bytes of all answers have left."""
        self.asked: list[tuple[int, int | None]] = []
        self.requests: list[web.Request] = []
        self.bytes_sent = 0
        self.most_at_once = 0
        self.url = ""
        self._at_once = 0

    def asked_of(self, blocks: list[tuple[int, int]]) -> list[tuple[int, int | None]]:
        """Return the requests that asked for a byte of these blocks."""
        return [
            (start, end)
            for start, end in self.asked
            if any(start < last and (end is None or end > first) for first, last in blocks)
        ]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._answer(request)
        finally:
            self._at_once -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        end = int(asked[2]) + 1 if asked and asked[2] else None
        self.asked.append((start, end))
        if self.statuses:
            return web.Response(status=self.statuses.popleft())
        if self.before is not None:
            await self.before(start)
        content, total = self.content, len(self.content)
        if_range = request.headers.get("If-Range")
        is_other = self.knows_if_range and if_range is not None and if_range not in self.headers.values()
        if asked is None or not self.knows_ranges or is_other:
            response = web.StreamResponse(headers=self.headers)
            start, end = 0, total
        elif start >= total:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{total}"})
        else:
            end = min(total, total if end is None else end)
            response = web.StreamResponse(status=206, headers=self.headers)
            response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{total}"
        if self.tells_size:
            response.content_length = end - start
        await response.prepare(request)
        breaks = self.breaks.popleft() if self.breaks else None
        last = end if breaks is None else min(end, start + breaks)
        for at in range(start, last, _WRITE):
            data = content[at : min(at + _WRITE, last)]
            try:
                await response.write(data)
            except ConnectionError:  # the other side has left
                break
            self.bytes_sent += len(data)
            if self.sent is not None:
                self.sent(self.bytes_sent)
        if breaks is not None and request.transport is not None:
            request.transport.close()
        return response


@asynccontextmanager
async def serving(storage: Storage) -> AsyncIterator[Storage]:
    """Serve it while the block runs."""
    app = web.Application()
    app.router.add_get("/{name:.*}", storage.answer)
    async with TestServer(app) as server:
        storage.url = str(server.make_url("/file?signature=SECRET"))
        yield storage


class Gate:
    """Lets nobody through before `width` have come, again and again."""

    def __init__(self, width: int) -> None:
        self._barrier = asyncio.Barrier(width)

    async def __call__(self, start: int) -> None:
        if start:  # the first block is asked for alone
            await self._barrier.wait()
