"""Judging processes, seen from the server: started when there is work, killed when they hang, replaced when they die.

Pictures come from callers and from workflows, and decoding them is where a hostile one would attack: so it happens in
processes that hold no key, no connection and no setting of the server, with bounded memory and time. One that dies or
hangs takes the judge down that it was running, and nothing else: the others go on in a fresh process.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog

from runflow.evaluations.judges.verdict import OPENING, PREVIEW
from runflow.sandbox.confine import environment

log = structlog.get_logger()

STEP_SECONDS = 30.0
"""Each judge, and decoding, may take this long."""
START_SECONDS = 60.0
IDLE_SECONDS = 60.0
"""A process without work for this long is stopped: an idle server keeps none."""
MOST_CRASHES = 3
"""Of one subject."""
LINE_BYTES = 4 * 1024 * 1024


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


@dataclass(slots=True, eq=False)
class _Process:
    process: asyncio.subprocess.Process
    judges: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each judge says of itself, by name."""


class JudgingPool:
    """At most `size` judging processes of one server process."""

    def __init__(self, size: int, *, step_seconds: float = STEP_SECONDS, idle_seconds: float = IDLE_SECONDS) -> None:
        """Prepare; nothing is started before there is work."""
        self._slots = asyncio.Semaphore(size)
        self._step_seconds = step_seconds
        self._idle_seconds = idle_seconds
        self._idle: list[tuple[_Process, float]] = []
        self._all: set[_Process] = set()
        self._reaper: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        """How many processes there are now."""
        return len(self._all)

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
        held = await self._take()
        step = OPENING
        try:
            await self._send(held, job)
            while True:
                message = await self._receive(held, step, self._step_seconds)
                if "begin" in message:
                    step = message["begin"]
                elif "verdict" in message:
                    verdicts.append(message["verdict"])
                    skip.append(message["verdict"]["name"])
                elif "refused" in message:
                    self._give_back(held)
                    raise ImageRefused(message["refused"])
                else:
                    self._give_back(held)
                    size = message["done"]["size"]
                    return (size[0], size[1]) if size else None
        except _Died as died:
            if died.step in held.judges:
                reasoning = f"This judge was left out: {died.reason}"
                nothing: dict[str, Any] = {
                    "passed": None,
                    "score": None,
                    "confidence": 0.0,
                    "strength": None,
                    "issues": [],
                }
                verdicts.append({**held.judges[died.step], **nothing, "duration_ms": 0, "reasoning": reasoning})
                skip.append(died.step)
            await self._end(held)
            raise
        except ImageRefused:
            raise
        except BaseException:
            # Cancelled in the middle of a job: what the process says next would belong to nobody.
            await self._end(held)
            raise

    async def _take(self) -> _Process:
        while self._idle:
            held, _ = self._idle.pop()
            if held.process.returncode is None:
                return held
            await self._end(held)
        return await self._start()

    async def _start(self) -> _Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "runflow.evaluations.judges.process"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES,
            env=environment(),
            start_new_session=True,  # Ctrl-C is the server's to handle
        )
        held = _Process(process)
        self._all.add(held)
        try:
            ready = await self._receive(held, OPENING, START_SECONDS)
        except BaseException:
            await self._end(held)
            raise
        held.judges = {judge["name"]: judge for judge in ready["ready"]}
        return held

    async def _send(self, held: _Process, job: dict[str, Any]) -> None:
        assert held.process.stdin is not None
        try:
            held.process.stdin.write(orjson.dumps(job) + b"\n")
            await held.process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise _Died(OPENING, "the judging process was gone.") from error

    async def _receive(self, held: _Process, step: str, seconds: float) -> dict[str, Any]:
        assert held.process.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                line = await held.process.stdout.readline()
        except TimeoutError:
            raise _Died(step, f"it took longer than {seconds:g} seconds.") from None
        except ValueError as error:  # a line beyond the limit
            raise _Died(step, "its answer was too long.") from error
        if not line.endswith(b"\n"):
            code = await held.process.wait()
            raise _Died(step, f"its process ended unexpectedly ({_ending(code)}).")
        message: dict[str, Any] = orjson.loads(line)
        return message

    def _give_back(self, held: _Process) -> None:
        self._idle.append((held, time.monotonic() + self._idle_seconds))
        if self._reaper is None or self._reaper.done():
            self._reaper = asyncio.create_task(self._reap())

    async def _reap(self) -> None:
        while self._idle:
            await asyncio.sleep(max(0.0, min(until for _, until in self._idle) - time.monotonic()))
            now = time.monotonic()
            for entry in [entry for entry in self._idle if entry[1] <= now]:
                self._idle.remove(entry)
                await self._end(entry[0])

    async def _end(self, held: _Process) -> None:
        self._all.discard(held)
        with contextlib.suppress(ProcessLookupError):
            held.process.kill()
        await asyncio.shield(held.process.wait())

    async def close(self) -> None:
        """Stop every process."""
        if self._reaper is not None:
            self._reaper.cancel()
        self._idle.clear()
        for held in list(self._all):
            await self._end(held)


@contextlib.asynccontextmanager
async def judging_pool(size: int, **options: Any) -> AsyncIterator[JudgingPool]:
    """Give a pool that is closed in the end."""
    pool = JudgingPool(size, **options)
    try:
        yield pool
    finally:
        await pool.close()


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
