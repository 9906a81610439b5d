"""Judging processes, seen from the server: what they are asked, and what it means when one dies or hangs.

Pictures come from callers and from workflows, and decoding them is where a hostile one would attack: so it happens in
processes that hold no key, no connection and no setting of the server, with bounded memory and time. One that dies or
hangs takes the judge down that it was running, and nothing else: the others go on in a fresh process.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson

from runflow.evaluations.judges.verdict import OPENING, PREVIEW
from runflow.sandbox.pool import IDLE_SECONDS, ProcessPool
from runflow.sandbox.process import ConfinedProcess, ProcessFailed, ProcessGone

STEP_SECONDS = 30.0
"""Each judge, and decoding, may take this long."""
MOST_CRASHES = 3
"""Of one subject."""


class JudgingFailed(Exception):
    """The judging process died or hung before any judge could speak. `reason` says which."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class ImageRefused(Exception):
    """The image is too large to be judged; the text says how large it is."""


class _Died(Exception):
    """The process ended, or was ended, during a step."""

    def __init__(self, step: str, reason: str) -> None:
        self.step = step
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Findings:
    """What the judges said, in their order, and the image's size where it could be decoded."""

    verdicts: list[dict[str, Any]]
    size: tuple[int, int] | None


class JudgingPool:
    """At most `size` judging processes of one server process."""

    def __init__(self, size: int, *, step_seconds: float = STEP_SECONDS, idle_seconds: float = IDLE_SECONDS) -> None:
        """Prepare; nothing is started before there is work."""
        self._slots = asyncio.Semaphore(size)
        self._step_seconds = step_seconds
        self._processes = ProcessPool("runflow.evaluations.judges.process", idle_seconds=idle_seconds)

    @property
    def running(self) -> int:
        """How many processes there are now."""
        return self._processes.running

    async def judge(self, job: dict[str, Any]) -> Findings:
        """Run every judge over a job (see `judges.process.work`).

        A judge whose process dies or hangs is reported as one that could not tell. Raises `ImageRefused`, and
        `JudgingFailed` when it is the decoding that fails so.
        """
        verdicts: list[dict[str, Any]] = []
        skip: list[str] = []
        preview, crashes = bool(job.get("preview")), 0
        async with self._slots:
            while True:
                try:
                    size = await self._attempt({**job, "skip": skip, "preview": preview}, verdicts, skip)
                    return Findings(verdicts, size)
                except _Died as died:
                    crashes += 1
                    if died.step == OPENING or crashes > MOST_CRASHES:
                        raise JudgingFailed(died.reason) from died
                    if died.step == PREVIEW:
                        preview = False

    async def _attempt(
        self, job: dict[str, Any], verdicts: list[dict[str, Any]], skip: list[str]
    ) -> tuple[int, int] | None:
        judges: dict[str, dict[str, Any]] = {}
        step = OPENING
        try:
            async with self._processes.process() as process:
                judges = {judge["name"]: judge for judge in orjson.loads(process.greeting)["ready"]}
                await process.send(orjson.dumps(job), seconds=self._step_seconds)
                while True:
                    message = await self._receive(process)
                    if "begin" in message:
                        step = message["begin"]
                    elif "verdict" in message:
                        verdicts.append(message["verdict"])
                        skip.append(message["verdict"]["name"])
                    else:
                        break
                refused = message.get("refused")
                size = None if refused else message["done"]["size"]
        except ProcessFailed as failed:
            reason = "the judging process was gone." if isinstance(failed, ProcessGone) else str(failed)
            if step in judges:
                verdicts.append(_left_out(judges[step], reason))
                skip.append(step)
            raise _Died(step, reason) from failed
        if refused:
            raise ImageRefused(refused)
        return (size[0], size[1]) if size else None

    async def _receive(self, process: ConfinedProcess) -> dict[str, Any]:
        message: dict[str, Any] = orjson.loads(await process.receive(seconds=self._step_seconds))
        return message

    async def close(self) -> None:
        """Stop every process."""
        await self._processes.close()


@contextlib.asynccontextmanager
async def judging_pool(size: int, **options: Any) -> AsyncIterator[JudgingPool]:
    """Give a pool that is closed in the end."""
    pool = JudgingPool(size, **options)
    try:
        yield pool
    finally:
        await pool.close()


def _left_out(judge: dict[str, Any], reason: str) -> dict[str, Any]:
    """Return what is said of a judge whose process died or hung."""
    nothing: dict[str, Any] = {"passed": None, "score": None, "confidence": 0.0, "strength": None, "issues": []}
    return {**judge, **nothing, "duration_ms": 0, "reasoning": f"This judge was left out: {reason}"}
