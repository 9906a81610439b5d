"""Hints between server processes: "something waits in a lane", "this run ended", "this key changed".

One LISTEN connection per process; what a process publishes reaches its own listeners at once and the others by NOTIFY,
many messages in one statement, because NOTIFY makes commits queue up behind each other. A process that is alone tells
nobody else. A hint may be lost (a process died, the connection broke); whoever waits also looks by itself from time to
time.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import psycopg
import structlog
from sqlalchemy import URL

from runflow.db.transaction import Transaction
from runflow.db.unit_of_work import current_unit

log = structlog.get_logger()

CHANNEL = "runflow"
LISTENER = "runflow-hub"
"""The application name of every process's listening connection: how many there are is how many processes there are."""
PEERS_SECONDS = 5.0
"""How often a process counts the others. One that starts says so at once."""
ALWAYS_TOLD = frozenset({"key"})
"""Topics that go out even when nobody seems to listen: a revoked key must not live on in a process just starting."""

_COUNT_LISTENERS = """
    SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()
"""
MAX_PAYLOAD_BYTES = 7000
"""PostgreSQL takes 8,000 bytes in one notification."""
RECONNECT_SECONDS = 0.5

GATHER_SECONDS = 0.003
"""Hints for other processes are gathered this long, so that many go in one notification."""


_NOTIFY = "SELECT pg_notify(%(channel)s, %(hints)s)"


async def announce(transaction: Transaction, topic: str, subject: str = "") -> None:
    """Give a hint to every server process when this transaction commits; for who has no hub."""
    await transaction.run(_NOTIFY, {"channel": CHANNEL, "hints": orjson.dumps([[topic, subject]]).decode()})


class Hub:
    """Publishes and receives hints. A hint is a topic and a subject, e.g. `("run", "0197…")`."""

    def __init__(self, url: URL) -> None:
        """Take the URL of the system role."""
        self._dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._waiters: dict[tuple[str, str], set[asyncio.Event]] = defaultdict(set)
        self._handlers: dict[str, list[Callable[[str], None]]] = defaultdict(list)
        self._outbox: dict[tuple[str, str], None] = {}
        self._outbox_ready = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._sender_pid = 0
        self._alone = False
        self.connected = False
        self.connections = 0
        """How often it has connected: one more after every time that the database was away."""

    async def start(self) -> None:
        """Begin to listen and to send."""
        self._tasks = [asyncio.create_task(self._listen_forever()), asyncio.create_task(self._send_forever())]

    async def stop(self) -> None:
        """Close both connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def publish(self, topic: str, subject: str = "") -> None:
        """Tell everyone, here at once and in other processes soon. Call it after the commit.

        Inside a unit of work the hint goes out when that has ended.
        """
        unit = current_unit()
        if unit is not None:
            unit.hold(self, topic, subject)
            return
        self._dispatch(topic, subject)
        if self._alone and topic not in ALWAYS_TOLD:
            return
        self._outbox[topic, subject] = None
        self._outbox_ready.set()

    def on(self, topic: str, handler: Callable[[str], None]) -> None:
        """Call `handler(subject)` for every hint of a topic. After a lost connection it is called with `""`."""
        self._handlers[topic].append(handler)

    @contextlib.contextmanager
    def waiting(self, topic: str, subject: str = "") -> Iterator[asyncio.Event]:
        """Give an event that the next hint of this subject sets. Look at the database after entering, then wait."""
        event = asyncio.Event()
        waiters = self._waiters[(topic, subject)]
        waiters.add(event)
        try:
            yield event
        finally:
            waiters.discard(event)
            if not waiters:
                self._waiters.pop((topic, subject), None)

    def _dispatch(self, topic: str, subject: str) -> None:
        for event in self._waiters.get((topic, subject), ()):
            event.set()
        for handler in self._handlers.get(topic, ()):
            _tell(handler, subject)

    def wake_all(self) -> None:
        """Make everyone look: after a gap nobody knows what was missed."""
        for events in self._waiters.values():
            for event in events:
                event.set()
        for handlers in self._handlers.values():
            for handler in handlers:
                _tell(handler, "")

    async def _listen_forever(self) -> None:
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._dsn, autocommit=True, application_name=LISTENER
                ) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    await connection.execute("SELECT pg_notify(%s, '[]')", [CHANNEL])
                    self.connected = True
                    self.connections += 1
                    # A restart of the database begins to count anew: by now it may be the sender of another process.
                    self._sender_pid = 0
                    self._outbox_ready.set()
                    self.wake_all()
                    while True:
                        await self._listen(connection)
                        row = await (await connection.execute(_COUNT_LISTENERS, [LISTENER])).fetchone()
                        self._alone = row is not None and row[0] <= 1
            except Exception as error:
                log.warning("notifications lost, connecting again", error=_first_line(error))
            finally:
                self.connected = self._alone = False
            self.wake_all()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        """Pass on what others say, for a while."""
        async for notification in connection.notifies(timeout=PEERS_SECONDS):
            # The sender may have connected, or connected again, since this began to listen.
            if notification.pid not in (self._sender_pid, connection.info.backend_pid):
                self._alone = False
                for topic, subject in orjson.loads(notification.payload):
                    self._dispatch(topic, subject)

    async def _send_forever(self) -> None:
        while True:
            # Whoever listens to another life of the database than it sends to would not know its own hints.
            began = self.connections
            try:
                async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as connection:
                    if began == self.connections:
                        self._sender_pid = connection.info.backend_pid
                    while began == self.connections:
                        await self._outbox_ready.wait()
                        await asyncio.sleep(GATHER_SECONDS)
                        self._outbox_ready.clear()
                        while self._outbox and began == self.connections:
                            await self._send(connection)
                self._outbox_ready.set()
                continue
            except Exception as error:
                log.warning("cannot send notifications, connecting again", error=_first_line(error))
            self._outbox_ready.set()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _send(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        """Send as many hints as fit one notification. The same one that is given meanwhile tells of more: it stays."""
        batch = self._take()
        try:
            await connection.execute("SELECT pg_notify(%s, %s)", [CHANNEL, orjson.dumps(batch).decode()])
        except BaseException:
            self._outbox = dict.fromkeys(batch) | self._outbox
            raise

    def _take(self) -> list[tuple[str, str]]:
        """Take as many waiting hints as fit one notification."""
        size = 2
        batch: list[tuple[str, str]] = []
        for hint in self._outbox:
            size += len(hint[0]) + len(hint[1]) + 8
            if size > MAX_PAYLOAD_BYTES and batch:
                break
            batch.append(hint)
        for hint in batch:
            del self._outbox[hint]
        return batch


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).split("\n")[0]


def _tell(handler: Callable[[str], None], subject: str) -> None:
    """Hand a hint to a handler. One that fails at it must not end the listening of the whole process."""
    try:
        handler(subject)
    except Exception:
        log.exception("a hint could not be handled", subject=subject)
