"""Following a run: its events as they happen, for any number of listeners.

A process has one subscription to the hints about runs. Listeners of one run at one place share each look into the
database, so a thousand of them cost as much as one; without a hint there is one slow look per followed run.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import structlog

from runflow import errors
from runflow.runs.history import queries
from runflow.runs.history.momentary import Momentary
from runflow.runs.history.timeline import PROGRESS_SECONDS, Look, RunEvent, timeline
from runflow.runs.tables import EventsRow
from runflow.web.event_stream import KEEP_ALIVE, server_sent_event
from runflow.web.services import Services

log = structlog.get_logger()

T = TypeVar("T")

LOOK_AGAIN_SECONDS = 5.0
"""How often a followed run is looked up without a hint: hints may be lost."""
KEEP_ALIVE_SECONDS = 15.0
MOST = 100
"""Stored events that one look reads: so much of a run's past is held for a listener that does not read."""
PIECE_BYTES = 16 * 1024
"""What is sent at once, unless a single event is larger: the rest waits until that is on its way."""


@dataclass(frozen=True, slots=True)
class _Written:
    """A look as text, in pieces that all who listen share.

    `last` is the number of its last event, `status` the last status that it tells of; None without one.
    """

    pieces: tuple[bytes, ...]
    last: int | None
    status: str | None
    is_end: bool
    has_progress: bool
    more: bool


class _Followed:
    """A run that someone listens to. `changed` is replaced with every hint, and set for those who hold the old one."""

    def __init__(self) -> None:
        self.listeners = 0
        self.changed = asyncio.Event()
        self.ended = asyncio.Event()
        self.looks: dict[int, asyncio.Task[_Written]] = {}

    def hint(self) -> None:
        """Make everyone look again; looks that have begun may have missed the news."""
        self.looks = {}
        self.changed.set()
        self.changed = asyncio.Event()


class _Followers:
    """The runs that are followed in this process."""

    def __init__(self, services: Services) -> None:
        self._runs: dict[UUID, _Followed] = {}
        services.hub.on("run", self._ended)
        services.hub.on("run-events", self._changed)

    @contextlib.contextmanager
    def following(self, run_id: UUID) -> Iterator[_Followed]:
        followed = self._runs.setdefault(run_id, _Followed())
        followed.listeners += 1
        try:
            yield followed
        finally:
            followed.listeners -= 1
            if not followed.listeners:
                self._runs.pop(run_id, None)

    def _ended(self, subject: str) -> None:
        for followed in self._named(subject):
            if subject:
                followed.ended.set()
            followed.hint()

    def _changed(self, subject: str) -> None:
        for followed in self._named(subject):
            followed.hint()

    def _named(self, subject: str) -> list[_Followed]:
        if not subject:
            return list(self._runs.values())
        found = self._runs.get(UUID(subject)) if self._runs else None
        return [] if found is None else [found]


async def look_after(services: Services, org_id: UUID, run_id: UUID, after: int) -> Look:
    """Return the next events of a run after a number, as far as one look reads. Raises `RunNotFound`."""
    async with services.db.tenant(org_id) as transaction:
        found = await transaction.later(queries.EVENTS, {"run": run_id, "after": after, "most": MOST}, row=EventsRow)
    row = await found.fetchone()
    if row is None:
        raise errors.RunNotFound
    return timeline(row, after, MOST)


async def follow(
    services: Services, org_id: UUID, run_id: UUID, after: int, *, previews: bool = False
) -> AsyncGenerator[bytes]:
    """Yield a run's events after a number as Server-Sent Events, until its end, with comments in quiet times.

    Between them come momentary ones, without a number (`momentary.py`); pictures only with `previews`. Ends early when
    the server stops; who comes back with the last number goes on where this ended.
    """
    moment = Momentary(services, org_id, run_id, previews=previews)
    with services.part(_Followers).following(run_id) as followed:
        try:
            async for part in _told(services, org_id, run_id, after, followed, moment):
                yield part
        finally:
            await _quietly(run_id, moment.close())


async def _told(
    services: Services, org_id: UUID, run_id: UUID, after: int, followed: _Followed, moment: Momentary
) -> AsyncGenerator[bytes]:
    spoken = time.monotonic()
    while not services.stopping:
        changed = followed.changed
        try:
            look = await _look(services, followed, org_id, run_id, after)
        except errors.RunNotFound:
            return
        except Exception as error:  # the stream outlives any failure of the database
            log.warning("cannot read a run's events, trying again", run_id=str(run_id), error=repr(error)[:200])
            look = _NOTHING
        if look.last is not None:
            for piece in look.pieces:
                yield piece
            after, spoken = look.last, time.monotonic()
            if look.is_end:
                return
            moment.heard(look.status)
        if look.more:
            continue
        if news := await _quietly(run_id, moment.news()):
            yield news
            spoken = time.monotonic()
        elif time.monotonic() - spoken >= KEEP_ALIVE_SECONDS:
            yield KEEP_ALIVE
            spoken = time.monotonic()
        if look.has_progress:
            await _wait(followed.ended, PROGRESS_SECONDS)
        elif not await _wait(changed, LOOK_AGAIN_SECONDS) and followed.changed is changed:
            followed.hint()


async def _quietly(run_id: UUID, work: Coroutine[Any, Any, T]) -> T | None:
    """Do what only adds to the stream; its failure is no end of it."""
    try:
        return await work
    except Exception as error:
        log.warning("cannot tell a run's momentary events", run_id=str(run_id), error=repr(error)[:200])
        return None


_NOTHING = _Written((), None, None, is_end=False, has_progress=False, more=False)


async def _look(services: Services, followed: _Followed, org_id: UUID, run_id: UUID, after: int) -> _Written:
    task = followed.looks.get(after)
    if task is None:
        task = followed.looks[after] = asyncio.create_task(_look_and_write(services, org_id, run_id, after))
        # Every listener may be gone when it fails; then nobody wants to know.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
    # A listener that leaves does not take the look away from the others.
    return await asyncio.shield(task)


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event; return whether it came in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def _look_and_write(services: Services, org_id: UUID, run_id: UUID, after: int) -> _Written:
    look = await look_after(services, org_id, run_id, after)
    pieces: list[bytes] = []
    piece = bytearray()
    for event in look.events:
        text = _written(run_id, event)
        if piece and len(piece) + len(text) > PIECE_BYTES:
            pieces.append(bytes(piece))
            piece.clear()
        piece += text
    if piece:
        pieces.append(bytes(piece))
    return _Written(
        tuple(pieces),
        last=look.events[-1].number if look.events else None,
        status=next((event.data["status_code"] for event in reversed(look.events) if event.type == "status"), None),
        is_end=bool(look.events) and look.events[-1].is_end,
        has_progress=any(event.type == "progress" for event in look.events),
        more=look.more,
    )


def _written(run_id: UUID, event: RunEvent) -> bytes:
    return server_sent_event(
        event.number, event.type, {**event.data, "run_id": str(run_id), "timestamp": event.at.isoformat()}
    )
