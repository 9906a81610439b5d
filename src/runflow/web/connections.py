"""Bounds on the connections of a server: how many there are, and how long one may take to send a request.

uvicorn waits for as long as it takes until a request is whole and its answer is taken, with any number of connections
at once. Here a request's head has to come within `HEAD_SECONDS`, its body must go on, and so must the taking of an
answer; who waits for one is left alone, so event streams and long polls last. One look at all connections in a second
sees to that: a timer would cost every request something.
"""

import asyncio
import resource
import time
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import structlog
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = structlog.get_logger()

HEAD_SECONDS = 15.0
"""A request line and its headers have to be here in so long; also the first ones of a new connection."""
HEAD_BYTES = 128 * 1024
"""Of a head, and of what comes after it without being body: headers behind the last chunk, extensions of chunks."""
BODY_SECONDS = 30.0
"""In each stretch of so long ..."""
BODY_BYTES = 4096
"""... so much of a body has to come, or the rest of it, unless the server itself does not read on."""
UNREAD_SECONDS = 60.0
"""Of an answer that waits to be sent something has to leave in so long."""
SWEEP_SECONDS = 1.0
_ABORT = "abort_connection"
_OTHER_FILES = 256
"""Files that the process needs beside its connections: of the database, of storage, of the log."""


class Phase(Enum):
    """What of a request a connection is at."""

    HEAD = "head"
    BODY = "body"
    WHOLE = "whole"


class Connections:
    """The connections of one server."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Allow so many at once."""
        self.most = most
        self.clock = clock
        self._open: set[BoundedConnection] = set()

    def protocol(self) -> Callable[..., "BoundedConnection"]:
        """Return what uvicorn takes as `http`: it makes the protocol of each connection."""

        def make(**parts: Any) -> BoundedConnection:
            return BoundedConnection(self, **parts)

        return make

    def enter(self, one: "BoundedConnection") -> bool:
        """Take a connection in; where there is no room, in the place of the one that has waited longest without a
        request. False when all are at work.
        """
        if len(self._open) >= self.most:
            waiting = min(self._waiting(), key=lambda other: other.since, default=None)
            if waiting is None:
                return False
            self._open.discard(waiting)
            waiting.drop()
        self._open.add(one)
        return True

    def leave(self, one: "BoundedConnection") -> None:
        """Forget a connection that has ended."""
        self._open.discard(one)

    def sweep(self) -> int:
        """Close the connections that did not send, or take an answer, in time; return how many."""
        now = self.clock()
        late = [one for one in self._open if one.is_late(now)]
        for one in late:
            one.drop()
        if late:
            log.info("closed connections that did not send a request, or take its answer, in time", count=len(late))
        return len(late)

    async def watch(self) -> None:
        """Sweep every second until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()

    def _waiting(self) -> Iterator["BoundedConnection"]:
        return (one for one in self._open if one.waits_for_a_request)


class BoundedConnection(HttpToolsProtocol):
    """One connection: uvicorn's own, which notes how far the request that comes in is."""

    def __init__(self, connections: Connections, **parts: Any) -> None:
        """Belong to these connections; `parts` are uvicorn's."""
        super().__init__(**parts)
        self._connections_of_server = connections
        self._phase = Phase.HEAD
        self._received = 0
        self._bare = 0
        self._has_body = False
        self._unsent = 0
        self.since = self._unsent_since = connections.clock()

    @property
    def waits_for_a_request(self) -> bool:
        """Tell whether nobody would miss anything: no request is whole or on its way in, and none is being answered."""
        return self._phase is not Phase.BODY and (self.cycle is None or self.cycle.response_complete)

    def is_late(self, now: float) -> bool:
        """Tell whether it had its time; where a body goes on, its next stretch begins."""
        if self._is_unread(now):
            return True
        if self._phase is Phase.WHOLE:
            return False
        if self.flow.read_paused:
            self.since = now
        if self._phase is Phase.HEAD:
            return now - self.since > HEAD_SECONDS
        if now - self.since <= BODY_SECONDS:
            return False
        if self._received < BODY_BYTES:
            return True
        self._begin(Phase.BODY)
        return False

    def _is_unread(self, now: float) -> bool:
        """Tell whether nothing of what waits to be sent has left for too long."""
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        return now - self._unsent_since > UNREAD_SECONDS

    def drop(self) -> None:
        """Close it at once: who does not send may not read either."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there is room. Every request of the connection is handed the means to abort it."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, _ABORT: transport.abort}
        if not self._connections_of_server.enter(self):
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._connections_of_server.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes in, counting those of a head that does not end, and of a body that is none."""
        if self._phase is Phase.WHOLE and self.waits_for_a_request:
            # Whatever comes ends uvicorn's wait for the next request, also empty lines, which begin none.
            self._begin(Phase.HEAD)
        self._has_body = False
        super().data_received(data)
        if self._phase is not Phase.WHOLE and not self._has_body:
            self._bare += len(data)
            if self._bare > HEAD_BYTES:
                self.drop()

    def on_message_begin(self) -> None:
        """A request's first byte is here."""
        if self._phase is not Phase.HEAD:
            self._begin(Phase.HEAD)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its headers are."""
        self._begin(Phase.BODY)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """More of its body is."""
        self._received += len(body)
        self._bare, self._has_body = 0, True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """All of it is."""
        self._phase = Phase.WHOLE
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """It was answered; the connection waits for the next one, for which uvicorn has a time limit of its own."""
        self.since = self._connections_of_server.clock()
        super().on_response_complete()

    def _begin(self, phase: Phase) -> None:
        self._phase = phase
        self._received = self._bare = 0
        self.since = self._connections_of_server.clock()


def abort_connection(scope: Scope) -> bool:
    """Drop the connection of a request at once, with what was not sent; False where nothing can (no real socket).

    ASGI has no way to end a connection while its caller does not read: closing waits for what is unsent.
    """
    state: dict[str, Any] = scope.get("state") or {}
    abort: Callable[[], None] | None = state.get(_ABORT)
    if abort is None:
        return False
    abort()
    return True


def room_for(most: int) -> int:
    """Return how many connections this process can have, of `most`: each is an open file of the process.

    Raises the process's own limit as far as the system lets it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room = most if soft == resource.RLIM_INFINITY else max(16, min(most, soft - _OTHER_FILES))
    if room < most:
        log.warning("the system allows fewer open files than connections: raise it (ulimit -n)", connections=room)
    return room
