"""One run of Auto setup: the approved lines of a plan, packs and models at the same time, told to every page.

There is at most one at a time. A page that is reloaded finds it again by asking.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Collection, Coroutine, Sequence
from typing import Any

from .. import comfyui
from ..cancellation import Cancellation, Cancelled
from .archive import ArchiveRefused
from .commands import CommandFailed
from .download import DownloadFailed, download
from .fetch import Fetcher, FetchFailed
from .lines import MOST_ERROR, MOST_TEXT, Line, ModelLine, PackLine, readable, readable_all
from .packages import Requirements
from .packs import LeftOut, clean_up, install_pack
from .safe_paths import PathRefused
from .sources import SourceRefused, Sources

EVENT = "runflow.autosetup"
_EVENT_SECONDS = 0.25
_FAILURES = (ArchiveRefused, CommandFailed, DownloadFailed, FetchFailed, PathRefused, SourceRefused, OSError)
_WINDOW_SECONDS = 5.0
_STEP_SECONDS = 0.2


class Speed:
    """How fast something goes: over the last few seconds, so that a pause shows and a start does not lie."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def add(self, amount: int, now: float | None = None) -> None:
        """Note how much is done in all, at a time in seconds (default: now)."""
        now = time.monotonic() if now is None else now
        if len(self._points) > 1 and now - self._points[-2][0] < _STEP_SECONDS:
            self._points.pop()
        self._points.append((now, amount))
        while len(self._points) > 2 and now - self._points[0][0] > _WINDOW_SECONDS:
            self._points.popleft()

    def rate(self) -> float | None:
        """The amount per second, None while it cannot be told."""
        if len(self._points) < 2:
            return None
        (begin, first), (end, last) = self._points[0], self._points[-1]
        return (last - first) / (end - begin) if end > begin else None


class Item:
    """One line at work. `state`: waiting, working, asking, done, failed, left_out, cancelled."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.state = "waiting"
        self.step, self.done, self.total = "", 0, 0
        self.error: str | None = None
        self.asked: Requirements | None = None
        self.answer: asyncio.Future[bool] | None = None
        self.speed = Speed()

    def describe(self) -> dict[str, Any]:
        """The item as the page shows it. `done` and `total` are bytes for a model, percent for a pack."""
        kind = "model" if isinstance(self.line, ModelLine) else "custom_node"
        asked = None
        if self.asked and self.state == "asking":
            asked = {"packages": list(self.asked.plain), "left_out": readable_all(self.asked.left_out)}
        return {
            "id": self.line.id,
            "kind": kind,
            "name": readable(self.line.name, MOST_TEXT),
            "state": self.state,
            "step": readable(self.step, MOST_TEXT),
            "done": self.done,
            "total": self.total,
            "bytes_per_second": self.speed.rate() if kind == "model" and self.state == "working" else None,
            "error": self.error,
            "asks": asked,
        }


class SetupJob:
    """The work on approved lines. `state`: running, done, cancelled."""

    def __init__(self, lines: Sequence[Line], sources: Sources) -> None:
        self.id = secrets.token_hex(8)
        self.items = {line.id: Item(line) for line in lines}
        self.cancelled = Cancellation()
        self.state = "running"
        self.task: asyncio.Task[None] | None = None
        self._sources = sources
        self._told = 0.0
        self._loop = asyncio.get_running_loop()

    def describe(self) -> dict[str, Any]:
        """The job as the page shows it."""
        return {"id": self.id, "state": self.state, "items": [item.describe() for item in self.items.values()]}

    def start(self) -> None:
        """Begin in the background."""
        self.task = self._loop.create_task(self._run())

    def answer(self, line_id: str, *, approved: bool) -> bool:
        """Take the person's answer about packages. False: nobody asked."""
        item = self.items.get(line_id)
        if item is None or item.answer is None or item.answer.done():
            return False
        item.answer.set_result(approved)
        return True

    def cancel(self) -> None:
        """End what is at work; what is in its place already stays."""
        self.cancelled.set()
        for item in self.items.values():
            if item.answer is not None and not item.answer.done():
                item.answer.set_result(False)

    async def _run(self) -> None:
        packs = [item for item in self.items.values() if isinstance(item.line, PackLine)]
        models = [item for item in self.items.values() if isinstance(item.line, ModelLine)]
        try:
            async with Fetcher(self._sources) as fetcher:
                await asyncio.gather(self._lane(packs, fetcher), self._lane(models, fetcher))
        finally:
            self.state = "cancelled" if self.cancelled.is_set() else "done"
            self._tell()

    async def _lane(self, items: Sequence[Item], fetcher: Fetcher) -> None:
        for folder in {item.line.folder for item in items if isinstance(item.line, PackLine)}:
            await asyncio.to_thread(clean_up, folder)
        for item in items:
            if self.cancelled.is_set():
                self._move(item, "cancelled")
                continue
            self._move(item, "working")
            await self._watch(item, self._work(item, fetcher))

    async def _work(self, item: Item, fetcher: Fetcher) -> None:
        def progress(step: str, done: int, total: int) -> None:
            self._loop.call_soon_threadsafe(self._progress, item, step, done, total)

        async def ask(wanted: Requirements) -> bool:
            item.asked, item.answer = wanted, self._loop.create_future()
            self._move(item, "asking")
            approved = await item.answer
            if self.cancelled.is_set():
                raise Cancelled
            self._move(item, "working")
            return approved

        if isinstance(item.line, ModelLine):
            await download(item.line, fetcher, self.cancelled, progress)
        else:
            await install_pack(item.line, fetcher, self.cancelled, progress, ask)

    async def _watch(self, item: Item, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Cancelled:
            self._move(item, "cancelled")
        except LeftOut:
            self._move(item, "left_out")
        except _FAILURES as failure:
            said = readable(str(failure), MOST_ERROR)  # a console obeys some of what programs of strangers write
            comfyui.LOG.warning("Runflow: Auto setup of %s failed: %s", ascii(item.line.name), said)
            self._move(item, "failed", said)
        except Exception as fault:
            comfyui.LOG.exception("Runflow: Auto setup of %s failed", ascii(item.line.name))
            self._move(item, "failed", f"{type(fault).__name__} in the plugin; ComfyUI's log says where.")
        else:
            self._move(item, "done")

    def _progress(self, item: Item, step: str, done: int, total: int) -> None:
        fresh = step != item.step
        item.step, item.done, item.total = step, done, total
        if fresh:
            item.speed = Speed()
        item.speed.add(done)
        if fresh or time.monotonic() - self._told >= _EVENT_SECONDS:
            self._tell()

    def _move(self, item: Item, state: str, error: str | None = None) -> None:
        item.state, item.error = state, error
        self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        comfyui.send(EVENT, self.describe(), None)


def approve(lines: Collection[Line], chosen: Collection[str], pickles: Collection[str]) -> list[Line]:
    """The lines that were chosen, without those that are refused, or pickles that were not allowed one by one."""
    return [
        line
        for line in lines
        if line.id in chosen
        and line.refused is None
        and not (isinstance(line, ModelLine) and line.pickle and line.id not in pickles)
    ]
