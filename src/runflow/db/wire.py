"""Many statements, one message: what one connection sends and reads at a time, over psycopg's libpq.

psycopg's own pipeline sends every statement by itself, so client and server wake each other once per statement. Here
statements gather until somebody waits for rows; then all of them leave in one write, and their results come back in
one read or two. A transaction of four statements costs a third of the client's CPU, half of the server's, and a third
of the time.
"""

import asyncio
import re
from collections import deque, namedtuple
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg import AsyncConnection
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus

if TYPE_CHECKING:
    from psycopg.abc import Buffer
    from psycopg.pq.abc import PGresult

Parameters = Mapping[str, Any]

MAX_PREPARED = 200
"""Statements that a connection keeps prepared; the rest is parsed anew each time."""

_PLACEHOLDER = re.compile(r"%(?:\((\w+)\)s|%)")


class Statement(NamedTuple):
    """SQL as PostgreSQL reads it, and the names of its parameters in the order of their numbers."""

    sql: bytes
    names: tuple[str, ...]


@lru_cache(maxsize=1024)
def parse(sql: str) -> Statement:
    """Turn psycopg's placeholders (`%(name)s`, `%%`) into PostgreSQL's (`$1`)."""
    names: dict[str, int] = {}

    def numbered(match: re.Match[str]) -> str:
        return "%" if match[1] is None else f"${names.setdefault(match[1], len(names) + 1)}"

    return Statement(_PLACEHOLDER.sub(numbered, sql).encode(), tuple(names))


class Rows:
    """The rows of a statement; whoever asks for them before they are there waits for an exchange."""

    __slots__ = ("_position", "_result", "_wire")

    def __init__(self, wire: "Wire") -> None:
        self._wire = wire
        self._result: PGresult | None = None
        self._position = 0

    def arrived(self, result: "PGresult") -> None:
        """Take the result."""
        self._result = result

    async def fetchone(self) -> Any | None:
        """Return the next row as a named tuple, None after the last."""
        await self._wait()
        rows = self._load(self._position, self._position + 1)
        self._position += 1
        return rows[0] if rows else None

    async def fetchall(self) -> list[Any]:
        """Return the rows that were not fetched yet."""
        await self._wait()
        first, self._position = self._position, self._result.ntuples if self._result else 0
        return self._load(first, self._position)

    async def _wait(self) -> None:
        # After a transaction that failed the connection is somebody else's.
        if self._result is None and self._wire.owes(self):
            await self._wire.exchange()

    def _load(self, first: int, end: int) -> list[Any]:
        if self._result is None:
            raise RuntimeError("These rows never came: their transaction failed.")
        end = min(end, self._result.ntuples)
        return self._wire.load(self._result, first, end) if first < end else []


class Wire:
    """Sends and reads for one connection, which is in libpq's pipeline mode for good. One task uses it at a time."""

    def __init__(self, connection: "AsyncConnection[Any]") -> None:
        """Take an idle connection."""
        self._connection = connection
        self._pgconn = connection.pgconn
        self._pgconn.enter_pipeline_mode()
        # Made once: each finds out anew how every type of value is written or read.
        self._writing, self._reading = Transformer(connection), Transformer(connection)
        self._prepared: dict[tuple[str, tuple[int, ...]], bytes] = {}
        self._numbers = count(1)
        self._expected: deque[Rows | tuple[str, tuple[int, ...]]] = deque()
        self.interrupted = False
        """Whether an exchange was broken off: what the connection says next answers nobody knows what."""

    def add(self, sql: str, parameters: Parameters | None = None, *, prepare: bool = True) -> Rows:
        """Have a statement sent with the next exchange. With `prepare` its plan is kept for the next time."""
        values: Sequence[Buffer | None] | None = None
        types: tuple[int, ...] = ()
        formats = None
        if parameters is None:
            text = sql.encode()
        else:
            text, names = parse(sql)
            values = self._writing.dump_sequence([parameters[name] for name in names], [PyFormat.AUTO] * len(names))
            types, formats = self._writing.types or (), self._writing.formats
        name = self._name(sql, text, types) if prepare else None
        if name is not None:
            self._pgconn.send_query_prepared(name, values, param_formats=formats)
        else:
            self._pgconn.send_query_params(text, values, param_types=types, param_formats=formats)
        rows = Rows(self)
        self._expected.append(rows)
        return rows

    def _name(self, sql: str, text: bytes, types: tuple[int, ...]) -> bytes | None:
        """Return the name under which this connection has the statement prepared, None where it keeps enough."""
        key = (sql, types)
        name = self._prepared.get(key)
        if name is None and len(self._prepared) < MAX_PREPARED:
            name = self._prepared[key] = b"runflow%d" % next(self._numbers)
            self._pgconn.send_prepare(name, text, param_types=types)
            self._expected.append(key)
        return name

    def owes(self, rows: Rows) -> bool:
        """Tell whether these rows were added and not exchanged."""
        return any(expected is rows for expected in self._expected)

    async def exchange(self) -> None:
        """Send what was added and read every result. Raises the first error; what follows it was not executed."""
        self.interrupted = True
        self._pgconn.pipeline_sync()
        await self._flush()
        error = await self._read()
        self.interrupted = False
        if error is not None:
            raise error

    async def _flush(self) -> None:
        while self._pgconn.flush():
            # What is being sent does not fit: the server may be waiting for us to read before it takes more.
            await self._ready(writing=True)
            self._pgconn.consume_input()

    async def _read(self) -> psycopg.Error | None:
        """Read up to the sync, and return the first error."""
        error: psycopg.Error | None = None
        while True:
            while self._pgconn.is_busy():
                await self._ready()
                self._pgconn.consume_input()
            result = self._pgconn.get_result()
            if result is None:
                if self._pgconn.status == ConnStatus.BAD:
                    raise psycopg.OperationalError("the connection to the database is lost")
                continue
            if result.status == ExecStatus.PIPELINE_SYNC:
                return error
            wanted = self._expected.popleft()
            if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
                if isinstance(wanted, Rows):
                    wanted.arrived(result)
                continue
            if not isinstance(wanted, Rows):
                del self._prepared[wanted]
            if error is None and result.status != ExecStatus.PIPELINE_ABORTED:
                error = error_from_result(result, self._connection.info.encoding)

    async def _ready(self, *, writing: bool = False) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            if not ready.done():
                ready.set_result(None)

        socket = self._pgconn.socket
        loop.add_reader(socket, tell)
        if writing:
            loop.add_writer(socket, tell)
        try:
            await ready
        finally:
            loop.remove_reader(socket)
            if writing:
                loop.remove_writer(socket)

    def load(self, result: "PGresult", first: int, end: int) -> list[Any]:
        """Return rows `first` up to, not including, `end` of a result."""
        self._reading.set_pgresult(result)
        names = tuple(result.fname(number) or b"" for number in range(result.nfields))
        return self._reading.load_rows(first, end, _row_maker(names))


@lru_cache(maxsize=1024)
def _row_maker(names: tuple[bytes, ...]) -> Any:
    return namedtuple("Row", [name.decode() for name in names], rename=True)._make  # type: ignore[attr-defined]
