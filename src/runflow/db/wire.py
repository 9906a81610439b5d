"""Many statements, one message: what one connection sends and reads at a time, over psycopg's libpq.

psycopg's own pipeline sends every statement by itself, so client and server wake each other once per statement. Here
statements gather until somebody waits for rows; then all of them leave in one write, and their results come back in
one read or two. A transaction of four statements costs a third of the client's CPU, half of the server's, and a third
of the time.
"""

import asyncio
import re
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import count
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus

from runflow.db.rows import row_maker, single_value

if TYPE_CHECKING:
    from psycopg.abc import Buffer
    from psycopg.pq.abc import PGresult

Parameters = Mapping[str, Any]

MAX_PREPARED = 300
"""Statements that a connection keeps prepared; for one more, the one that was not used for longest goes."""
MAX_BUILT = 50
"""The same for statements that were built for a call: callers choose filters, and a plan takes memory of the server."""
PREPARE_AFTER = 5
MAX_COUNTED = 1000
MAX_KEPT_CHARACTERS = 10_000
"""A longer statement that was built for a call is neither prepared nor remembered."""

RowT = TypeVar("RowT")
MadeOf = Callable[[tuple[str, ...]], Callable[[Sequence[Any]], RowT]]
"""Given the names of a statement's columns, returns what makes a row of their values."""

_Prepared = tuple[str, tuple[int, ...]]
"""A statement that is prepared: its text, and the types of its parameters."""
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


class Rows(Generic[RowT]):
    """The rows of a statement; whoever asks for them before they are there waits for an exchange."""

    __slots__ = ("_made_of", "_position", "_result", "_wire")

    def __init__(self, wire: "Wire", made_of: MadeOf[RowT]) -> None:
        self._wire = wire
        self._made_of = made_of
        self._result: PGresult | None = None
        self._position = 0

    def arrived(self, result: "PGresult") -> None:
        """Take the result."""
        self._result = result

    async def fetchone(self) -> RowT | None:
        """Return the next row, None after the last."""
        await self._wait()
        rows = self._load(self._position, self._position + 1)
        self._position += 1
        return rows[0] if rows else None

    async def fetchall(self) -> list[RowT]:
        """Return the rows that were not fetched yet."""
        result = await self._wait()
        first, self._position = self._position, result.ntuples
        return self._load(first, self._position)

    async def count(self) -> int:
        """Return how many rows the statement gave or changed."""
        return (await self._wait()).command_tuples or 0

    async def _wait(self) -> "PGresult":
        # After a transaction that failed the connection is somebody else's.
        if self._result is None and self._wire.owes(self):
            await self._wire.exchange()
        if self._result is None:
            raise RuntimeError("These rows never came: their transaction failed.")
        return self._result

    def _load(self, first: int, end: int) -> list[RowT]:
        end = min(end, self._result.ntuples) if self._result else 0
        return self._wire.load(self._result, first, end, self._made_of) if self._result and first < end else []


class Wire:
    """Sends and reads for one connection, which is in libpq's pipeline mode for good. One task uses it at a time."""

    def __init__(self, connection: "AsyncConnection[Any]") -> None:
        """Take an idle connection."""
        self._connection = connection
        self._pgconn = connection.pgconn
        self._pgconn.enter_pipeline_mode()
        # Made once: each finds out anew how every type of value is written or read.
        self._writing, self._reading = Transformer(connection), Transformer(connection)
        self._prepared: OrderedDict[_Prepared, bytes] = OrderedDict()
        self._prepared_built: OrderedDict[_Prepared, bytes] = OrderedDict()
        self._uses: Counter[int] = Counter()
        self._numbers = count(1)
        self._expected: deque[Rows[Any] | _Prepared | None] = deque()
        self.interrupted = False
        """Whether an exchange was broken off: what the connection says next answers nobody knows what."""

    def add(self, sql: str, parameters: Parameters | None = None) -> "Rows[Any]":
        """Have a statement sent with the next exchange whose rows nobody reads."""
        return self.ask(sql, parameters, _no_rows)

    def ask(
        self, sql: str, parameters: Parameters | None, made_of: MadeOf[RowT], *, built: bool = False
    ) -> "Rows[RowT]":
        """Have a statement sent with the next exchange, and its plan kept for the next time.

        One that was `built` for this call may never come again, so its plan is kept once it came a few times.
        """
        values: Sequence[Buffer | None] | None = None
        types: tuple[int, ...] = ()
        formats = None
        if parameters is None:
            text = sql.encode()
        else:
            text, names = parse(sql) if len(sql) <= MAX_KEPT_CHARACTERS else parse.__wrapped__(sql)
            values = self._writing.dump_sequence([parameters[name] for name in names], [PyFormat.AUTO] * len(names))
            types, formats = self._writing.types or (), self._writing.formats
        name = None
        if not built:
            name = self._name(self._prepared, MAX_PREPARED, sql, text, types)
        elif self._comes_often(sql):
            name = self._name(self._prepared_built, MAX_BUILT, sql, text, types)
        if name is not None:
            self._pgconn.send_query_prepared(name, values, param_formats=formats)
        else:
            self._pgconn.send_query_params(text, values, param_types=types, param_formats=formats)
        rows = Rows(self, made_of)
        self._expected.append(rows)
        return rows

    def _name(
        self, kept: "OrderedDict[_Prepared, bytes]", most: int, sql: str, text: bytes, types: tuple[int, ...]
    ) -> bytes:
        """Return the name under which this connection has the statement prepared; of `kept`, at most so many."""
        key = (sql, types)
        name = kept.get(key)
        if name is not None:
            kept.move_to_end(key)
            return name
        if len(kept) >= most:
            _, oldest = kept.popitem(last=False)
            self._pgconn.send_query_params(b"DEALLOCATE " + oldest, None)
            self._expected.append(None)
        name = kept[key] = b"runflow%d" % next(self._numbers)
        self._pgconn.send_prepare(name, text, param_types=types)
        self._expected.append(key)
        return name

    def _comes_often(self, sql: str) -> bool:
        if len(sql) > MAX_KEPT_CHARACTERS:
            return False
        if len(self._uses) >= MAX_COUNTED:
            self._uses.clear()
        self._uses[hash(sql)] += 1
        return self._uses[hash(sql)] > PREPARE_AFTER

    @property
    def waits(self) -> bool:
        """Tell whether anything was added and not exchanged."""
        return bool(self._expected)

    def owes(self, rows: "Rows[Any]") -> bool:
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
            if isinstance(wanted, tuple):
                self._prepared.pop(wanted, None)
                self._prepared_built.pop(wanted, None)
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

    def load(self, result: "PGresult", first: int, end: int, made_of: MadeOf[RowT]) -> list[RowT]:
        """Return rows `first` up to, not including, `end` of a result."""
        self._reading.set_pgresult(result)
        names = _names(tuple(result.fname(number) or b"" for number in range(result.nfields)))
        return self._reading.load_rows(first, end, made_of(names))


@lru_cache(maxsize=1024)
def _names(names: tuple[bytes, ...]) -> tuple[str, ...]:
    return tuple(name.decode() for name in names)


def rows_of(kind: type[RowT]) -> MadeOf[RowT]:
    """Return what makes rows of this class, by the columns' names."""
    return partial(row_maker, kind)


def _no_rows(_columns: tuple[str, ...]) -> Callable[[Sequence[Any]], Any]:
    return single_value
