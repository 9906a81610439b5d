"""The floor: what a direct caller of the same ComfyUI sees, `POST /prompt` to the end on the websocket."""

import asyncio
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from benchmarks.workflows import Prompt, bound


class Direct:
    """One client of one ComfyUI; many prompts may be in flight."""

    def __init__(self, socket: Path) -> None:
        self._client = uuid.uuid4().hex
        self._place = socket
        self._ended: dict[str, asyncio.Future[None]] = {}

    async def __aenter__(self) -> Self:
        connector = aiohttp.UnixConnector(str(self._place), limit=64)
        self.http = aiohttp.ClientSession("http://engine", connector=connector)
        self._socket = await self.http.ws_connect(f"/ws?clientId={self._client}", max_msg_size=0)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._reader.cancel()
        await self._socket.close()
        await self.http.close()

    async def run(self, prompt: Prompt) -> str:
        """Run one prompt to its true end (`executing` with no node: then the history is written); return its id."""
        prompt_id = str(uuid.uuid4())
        ended = self._ended[prompt_id] = asyncio.get_running_loop().create_future()
        body: dict[str, Any] = {"prompt": prompt, "client_id": self._client, "prompt_id": prompt_id}
        async with self.http.post("/prompt", data=orjson.dumps(body)) as answer:
            if answer.status != 200:
                raise RuntimeError(await answer.text())
            await answer.read()
        await ended
        return prompt_id

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            event = orjson.loads(message.data)
            if event["type"] == "executing" and event["data"].get("node") is None:
                ended = self._ended.pop(event["data"].get("prompt_id"), None)
                if ended is not None and not ended.done():
                    ended.set_result(None)


async def one_by_one(run: Callable[[int], Any], count: int, first: int) -> list[float]:
    """Return the milliseconds of `count` runs, one after the other."""
    times = []
    for number in range(first, first + count):
        started = time.perf_counter()
        await run(number)
        times.append((time.perf_counter() - started) * 1000)
    return times


async def kept_full(run: Callable[[int], Any], callers: int, seconds: float, first: int) -> float:
    """Return runs per second with `callers` callers that each start the next run when theirs has ended."""
    deadline = time.perf_counter() + seconds
    numbers = iter(range(first, first + 10**6))
    finished = 0

    async def caller() -> None:
        nonlocal finished
        while time.perf_counter() < deadline:
            await run(next(numbers))
            finished += 1

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return finished / (time.perf_counter() - started)


def direct_run(direct: Direct, prompt: Prompt) -> Callable[[int], Any]:
    """Return a runner of `prompt` in which the number makes each execution different."""
    return lambda number: direct.run(bound(prompt, number))
