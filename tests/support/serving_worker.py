"""A worker without an engine that does whatever runs it gets, while a test looks at them from outside."""

import asyncio
from typing import Any

from tests.support.deployed import Worker


class Serving:
    """A worker that takes runs one after the other and delivers this content, until the end of the block."""

    def __init__(self, worker: Worker, content: bytes = b"picture", *, fails: bool = False) -> None:
        self._worker = worker
        self._content = content
        self._fails = fails
        self.inputs: list[dict[str, Any]] = []

    async def __aenter__(self) -> "Serving":
        self._task: asyncio.Task[None] = asyncio.create_task(self._serve())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _serve(self) -> None:
        while True:
            lease = await self._worker.lease(wait=5)
            if lease is None:
                continue
            self.inputs.append(lease["input"])
            progress = [event(number, "progress", value=number, max=4) for number in (1, 4)]
            await self._worker.heartbeat(lease, *progress)
            if self._fails:
                await self._worker.fail(lease, "EXECUTION_FAILED")
            else:
                await self._worker.complete(lease, outputs=[await self._worker.upload(lease, self._content)])


def event(number: int, kind: str, **data: Any) -> dict[str, Any]:
    """Return an event as workers send them."""
    return {"number": number, "type": kind, "at": "2026-01-31T10:00:00+00:00", "data": data}
