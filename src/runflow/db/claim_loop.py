"""The loop of those who claim rows and work on them: messages to deliver, images to evaluate.

A row is claimed in one transaction, worked on outside of any, and ended in another that is guarded by the claim. A
process that dies leaves its claims to lapse; then others take the rows. Nothing waits in memory: only what is being
worked on is claimed. Any number of processes may run a loop over the same rows.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import structlog

from runflow.db.notifications import Hub

log = structlog.get_logger()

DATABASE_PAUSE_SECONDS = 1.0
"""How long the loop waits before it tries again what the database refused."""
GATHER_SECONDS = 0.01
"""How long places that get free are gathered before the loop looks what is due: looking costs as much for one."""

ClaimT = TypeVar("ClaimT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Claimed(Generic[ClaimT]):
    """What a look at the rows gave.

    - `claims`: what is to be worked on now.
    - `more`: whether more may be due than was claimed: then a place that gets free is a reason to look.
    - `seconds_to_next`: how long it is until a row is due that is not due yet; None: no such row waits.
    """

    claims: Sequence[ClaimT]
    more: bool
    seconds_to_next: float | None = None


class WorkQueue(Protocol[ClaimT]):
    """The rows that a loop works on, and what working on one means."""

    async def claim(self, places: int) -> Claimed[ClaimT]:
        """Claim at most `places` rows that are due."""

    def name_of(self, held: ClaimT) -> str:
        """Return the id of a claim's row, for the log."""

    async def work(self, held: ClaimT) -> float | None:
        """Work on a claim and record what came of it. Returns in how many seconds the row is due again; None: not."""

    async def release(self, held: Sequence[ClaimT]) -> None:
        """Give claims back whose work was interrupted, so that others may work on these rows at once."""


@dataclass(frozen=True, slots=True)
class Extension(Generic[ClaimT]):
    """How claims are made to last as long as they are worked on: `extend` is called every so many seconds."""

    extend: Callable[[Sequence[ClaimT]], Awaitable[None]]
    seconds: float


class ClaimLoop(Generic[ClaimT]):
    """Works on what is due, in one server process."""

    def __init__(
        self,
        queue: WorkQueue[ClaimT],
        hub: Hub,
        topic: str,
        *,
        name: str,
        most: int,
        poll: float,
        grace: float = 0.0,
        extension: Extension[ClaimT] | None = None,
        beat: Callable[[], None] | None = None,
    ) -> None:
        """Prepare; `run` does the work.

        `topic` is the hint after a row was inserted; `name` says in the log what is worked on; `most` claims are held
        at once. In seconds: `poll` is how often the loop looks without being told, `grace` how long it lets work end
        when it is stopped. `beat` is called whenever the loop has read the rows.
        """
        self._queue = queue
        self._hub = hub
        self._topic = topic
        self._name = name
        self._most = most
        self._poll = poll
        self._grace = grace
        self._extension = extension
        self._beat = beat
        self._working: dict[asyncio.Task[float | None], ClaimT] = {}
        self._look = asyncio.Event()
        self._left_behind = False
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Work until cancelled; then take nothing new, let work end for the grace time and give the rest back."""
        extending = asyncio.create_task(self._extend_forever())
        try:
            with self._hub.waiting(self._topic) as self._look:
                while True:
                    self._look.clear()
                    pause = await self._begin_due()
                    # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with the hint.
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await self._look.wait()
        finally:
            try:
                await self._stop()
            finally:
                extending.cancel()
                await asyncio.gather(extending, return_exceptions=True)

    async def _begin_due(self) -> float:
        """Begin what is due and has a place. Returns for how long there will be nothing to do."""
        try:
            while (places := self._most - len(self._working)) > 0:
                found = await self._queue.claim(places)
                if self._beat is not None:
                    self._beat()
                self._left_behind = found.more
                for held in found.claims:
                    self._begin(held)
                if not (found.claims and found.more):
                    to_next = found.seconds_to_next
                    return self._poll if to_next is None else min(max(to_next, 0.0), self._poll)
        except Exception as error:  # the loop outlives any failure of the database
            log.warning(f"cannot read {self._name}, trying again", error=_first_line(error))
            return DATABASE_PAUSE_SECONDS
        self._left_behind = True
        return self._poll

    def _begin(self, held: ClaimT) -> None:
        task = asyncio.create_task(self._work(held))
        self._working[task] = held
        task.add_done_callback(self._ended)

    async def _work(self, held: ClaimT) -> float | None:
        try:
            return await self._queue.work(held)
        except NotRecorded:
            return None  # the claim lapses
        except Exception:  # a defect of ours must not end the loop
            log.exception("work on a claim failed unexpectedly", queue=self._name, claim=self._queue.name_of(held))
            return None

    def _ended(self, task: asyncio.Task[float | None]) -> None:
        if task.cancelled():
            return  # its claim is given back
        del self._working[task]
        if self._left_behind:
            self._look_in(GATHER_SECONDS)
        elif (again := task.result()) is not None and again < self._poll:
            self._look_in(again)

    def _look_in(self, seconds: float) -> None:
        """Have the loop look in so many seconds; then it learns from the database when to look next."""
        loop = asyncio.get_running_loop()
        when = loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = loop.call_at(when, self._timed)

    def _timed(self) -> None:
        self._timer = None
        self._look.set()

    async def _extend_forever(self) -> None:
        if self._extension is None:
            return
        while True:
            await asyncio.sleep(self._extension.seconds)
            if self._working:
                try:
                    await self._extension.extend(list(self._working.values()))
                except Exception as error:
                    log.warning(f"cannot renew claims of {self._name}", error=_first_line(error))

    async def _stop(self) -> None:
        """Let work end for the grace time, interrupt the rest and give its claims back."""
        try:
            if self._working:
                await asyncio.wait(self._working, timeout=self._grace)
        finally:
            left = list(self._working)
            for task in left:
                task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        claims = list(self._working.values())
        self._working.clear()
        if claims:
            with contextlib.suppress(Exception):  # then they lapse
                await self._queue.release(claims)
                self._hub.publish(self._topic)


class NotRecorded(Exception):
    """What came of a claim could not be recorded while it lasted: it lapses, and the row is worked on again."""


async def recorded(
    record: Callable[[], Awaitable[ResultT]], *, seconds: float, failing: str, about: dict[str, str]
) -> ResultT:
    """Return what `record` returns, tried for so many seconds also over failures of the database.

    `failing` and `about` are logged at each failure. Raises `NotRecorded`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        try:
            return await record()
        except Exception as error:  # without the record all would be done twice
            log.warning(failing, error=_first_line(error), **about)
            if loop.time() > deadline:
                raise NotRecorded from error
        await asyncio.sleep(DATABASE_PAUSE_SECONDS)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]
