"""Keyset pages: `sort_by` → sort keys and ORDER BY; opaque cursors; the rows of one page and the cursors around it."""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import blake2s
from math import isinf
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson
import sqlalchemy as sa
from pydantic import BaseModel, Field
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ClauseElement, Executable

from runflow.db.rows import row_maker
from runflow.db.statements import Parameters
from runflow.db.transaction import Transaction
from runflow.db.wire import MadeOf
from runflow.errors import InvalidCursor
from runflow.web.lists.filter import Condition, condition, parse_filter
from runflow.web.lists.projection import check_projection
from runflow.web.lists.query import ListQuery
from runflow.web.lists.spec import FieldKind, ListSpec, SortKey, parse_sort, signature, sort_error


def after(keys: Sequence[SortKey], values: Sequence[Any]) -> Condition:
    """Return the condition for the rows that come after the row with these sort key values.

    Where all keys run in one direction it is a row comparison, `(a, b) < (x, y)`: PostgreSQL starts at that very place
    of an index, so a page costs the same at any depth. Descending, that holds for nullable keys too: the missing values
    come first, hence none is left after a row that has a value, and a comparison with NULL keeps none.
    """
    if len({key.descending for key in keys}) == 1 and None not in values:
        here = sa.tuple_(*(key.field.column for key in keys))
        there = sa.tuple_(*(key.field.bind(value) for key, value in zip(keys, values, strict=True)))
        if keys[0].descending:
            return here < there
        if not any(key.field.nullable for key in keys):
            return here > there
    *leading, (last_key, last_value) = zip(keys, values, strict=True)
    result = _beyond(last_key, last_value)
    for key, value in reversed(leading):
        result = sa.or_(_beyond(key, value), sa.and_(_same(key, value), result))
    # Implied by the rest, but a range on the first key is what an index can start from.
    bound = _reached(keys[0], values[0])
    return result if bound is None else sa.and_(bound, result)


def _beyond(key: SortKey, value: Any) -> Condition:
    column = key.field.column
    if value is None:
        # Missing values are the largest: descending everything else follows them, ascending nothing does.
        return column.is_not(None) if key.descending else sa.false()
    if key.descending:
        return column < key.field.bind(value)
    larger = column > key.field.bind(value)
    return sa.or_(larger, column.is_(None)) if key.field.nullable else larger


def _same(key: SortKey, value: Any) -> Condition:
    return key.field.column.is_(None) if value is None else key.field.column == key.field.bind(value)


def _reached(key: SortKey, value: Any) -> Condition | None:
    if value is None:
        return None
    if key.descending:
        return key.field.column <= key.field.bind(value)
    return None if key.field.nullable else key.field.column >= key.field.bind(value)


MAX_CHARACTERS = 16384
"""Longest cursor that is read. Longer ones are never given out for fields of the lengths that we store."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DECIMAL = re.compile(r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,3})?|NaN|-?Infinity")
_INT_LIMIT = 2**63


ROWS_AT_ONCE = 4
"""How many rows the database sends before their size is looked at."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list: strictly after (or, backwards, strictly before) the row whose sort key values it holds.

    `values` None is the edge: the start of the list forwards, its end backwards.
    """

    values: tuple[Any, ...] | None
    backwards: bool = False


def encode_cursor(cursor: Cursor, keys: tuple[SortKey, ...], filter_text: str | None) -> str:
    """Return the text of a cursor for this sort order and filter."""
    body: dict[str, Any] = {"s": signature(keys), "q": _fingerprint(filter_text)}
    if cursor.values is not None:
        body["v"] = [_plain(key.field.kind, value) for key, value in zip(keys, cursor.values, strict=True)]
    if cursor.backwards:
        body["b"] = True
    return base64.urlsafe_b64encode(orjson.dumps(body)).rstrip(b"=").decode()


def decode_cursor(text: str, keys: tuple[SortKey, ...], filter_text: str | None) -> Cursor:
    """Read a cursor that `encode_cursor` made for the same sort order and filter; raise InvalidCursor."""
    body = _json(text)
    order = signature(keys)
    if body.get("s") != order:
        raise cursor_error(
            f"The cursor pq belongs to another sort order than {order}. Keep sort_by while you page, or leave pq out."
        )
    if body.get("q") != _fingerprint(filter_text):
        raise cursor_error(
            "The cursor pq belongs to another filter. Keep q unchanged while you page, or leave pq out to start again."
        )
    plain, backwards = body.get("v"), body.get("b", False)
    if not isinstance(backwards, bool):
        raise _unreadable()
    if plain is None:
        return Cursor(None, backwards)
    if not isinstance(plain, list) or len(plain) != len(keys):
        raise _unreadable()
    try:
        values = tuple(_value(key, item) for key, item in zip(keys, plain, strict=True))
    except (ValueError, OverflowError, ArithmeticError):
        raise _unreadable() from None
    return Cursor(values, backwards)


def cursor_error(message: str) -> InvalidCursor:
    """Return the error for a bad `pq`."""
    return InvalidCursor(message, errors=[{"loc": ["query", "pq"], "msg": message, "type": "invalid_cursor"}])


def _unreadable() -> InvalidCursor:
    return cursor_error(
        "The cursor pq is not one that this list gave out. Send first, next or previous of an answer unchanged, "
        "or leave pq out to start again."
    )


def _json(text: str) -> dict[str, Any]:
    if len(text) > MAX_CHARACTERS:
        raise _unreadable()
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        body = orjson.loads(raw)
    except (UnicodeEncodeError, binascii.Error, orjson.JSONDecodeError):
        raise _unreadable() from None
    if not isinstance(body, dict):
        raise _unreadable()
    return body


def _fingerprint(filter_text: str | None) -> str:
    stripped = (filter_text or "").strip()
    return blake2s(stripped.encode(errors="surrogatepass"), digest_size=6).hexdigest() if stripped else ""


def _plain(kind: FieldKind, value: Any) -> Any:
    if value is None:
        return None
    if kind is FieldKind.TIMESTAMP:
        return (value - _EPOCH) // _MICROSECOND
    if kind in (FieldKind.UUID, FieldKind.DECIMAL):
        return str(value)
    return value


def _value(key: SortKey, plain: Any) -> Any:
    """Turn one JSON value back into what the database gave; raise ValueError where it cannot have been one."""
    if plain is None:
        if key.field.nullable:
            return None
        raise ValueError
    match key.field.kind, plain:
        case FieldKind.BOOL, bool():
            return plain
        case FieldKind.INT, int() if not isinstance(plain, bool) and -_INT_LIMIT <= plain < _INT_LIMIT:
            return plain
        case FieldKind.TIMESTAMP, int() if not isinstance(plain, bool):
            return _EPOCH + plain * _MICROSECOND
        case FieldKind.UUID, str():
            return UUID(plain)
        case FieldKind.DECIMAL, str() if _DECIMAL.fullmatch(plain):
            return _decimal(plain)
        case ((FieldKind.STRING | FieldKind.ENUM), str()) if "\x00" not in plain:
            return plain
        case _:
            raise ValueError


def _decimal(plain: str) -> Decimal:
    value, double = Decimal(plain), float(plain)
    # PostgreSQL fails, instead of answering, where a number is too large or too small for a double precision column.
    if value.is_finite() and (isinf(double) or (value and not double)):
        raise ValueError
    return value


_KEY = "list_key_{}"

RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True)
class Page(Generic[RowT]):
    """Some rows in the list's normal order, and the cursors around them, each a value for `pq` or None.

    - `first`: back to the first page; None on the first page itself.
    - `next`: the rows after these; None when there are none.
    - `previous`: the rows before these; None when there are none. It walks backwards with or without `from_prev`.
    """

    rows: list[RowT]
    first: str | None
    next: str | None
    previous: str | None


def build(spec: ListSpec, query: ListQuery, base: sa.Select[Any] | None = None) -> sa.Select[Any]:
    """Return `base` with the request's filter, place, order and limit.

    `base` (by default all columns of `spec.from_`) holds the joins and the conditions that bound what the caller may
    see; it may not have an order, a limit, DISTINCT or GROUP BY of its own. The values of the sort keys are added as
    last columns `list_key_0`, `list_key_1`, …, from which `page` makes the cursors.

    Raises InvalidFilter, InvalidSort, InvalidCursor or InvalidField.
    """
    check_projection(query, spec.response_fields, spec.embeds)
    keys, cursor = _place(spec, query)
    statement = sa.select(spec.from_) if base is None else base
    tree = parse_filter(query.q) if query.q else None
    if tree is not None:
        statement = statement.where(condition(spec.by_name, tree))
    walk = tuple(key.reversed for key in keys) if cursor.backwards else keys
    if cursor.values is not None:
        statement = statement.where(after(walk, cursor.values))
    return (
        statement.add_columns(*(key.field.column.label(_KEY.format(at)) for at, key in enumerate(keys)))
        .order_by(*(key.order for key in walk))
        .limit(query.limit + 1)
    )


MAX_SORTED_ROWS = 50_000
"""At most so many rows are put in order for one page, where no index holds them in it."""


class _Explain(Executable, ClauseElement):
    """The plan of a statement instead of its rows."""

    inherit_cache = False

    def __init__(self, statement: sa.Select[Any]) -> None:
        self.statement = statement


@compiles(_Explain)
def _explain(element: _Explain, compiler: Any, **options: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.statement, **options)}"


async def bounded(
    transaction: Transaction,
    spec: ListSpec,
    query: ListQuery,
    base: sa.Select[Any] | None = None,
    parameters: Parameters | None = None,
) -> sa.Select[Any]:
    """Return `build`'s statement, for a list that may be long: sorted by an index, or few enough rows to sort.

    The database's own estimate decides. Raises what `build` raises, and InvalidSort, naming a filter that helps.
    """
    statement = build(spec, query, base)
    order = signature(_place(spec, query)[0])
    default = parse_sort(spec.default_sort, spec.by_name, spec.id_field)
    if order in (signature(default), signature(tuple(key.reversed for key in default))):
        return statement  # an index has the default order of every list that grows, from both ends
    plan = await transaction.one_value(_Explain(statement), parameters, of=list)
    count = max(_sorted_rows(plan[0]["Plan"]), default=0)
    if count > MAX_SORTED_ROWS:
        narrow = spec.default_sort.partition(":")[0]
        since = f"{datetime.now(UTC) - timedelta(days=7):%Y-%m-%d}"
        raise sort_error(
            f"Sorting by {order[:60]} would put about {count:,} items in order, and at most "
            f"{MAX_SORTED_ROWS:,} are. Narrow them with q, such as {narrow} >= {since}, or leave sort_by out: "
            f"{spec.default_sort} takes any number."
        )
    return statement


def _sorted_rows(node: Mapping[str, Any]) -> Iterator[int]:
    if node["Node Type"] in ("Sort", "Incremental Sort"):
        yield int(node["Plan Rows"])
    for inner in node.get("Plans", ()):
        yield from _sorted_rows(inner)


def page(spec: ListSpec, query: ListQuery, rows: Sequence["Keyed[RowT]"], *, goes_on: bool = False) -> Page[RowT]:
    """Return the page that the rows of `build`'s statement for the same request make.

    `goes_on`: not all of them were read, so that there may be more.
    """
    keys, cursor = _place(spec, query)
    kept = list(rows[: query.limit])
    more = goes_on or len(rows) > query.limit
    if cursor.backwards:
        kept.reverse()
    # Where no row is left on the side walked to, everything lies on the other side: back from the edge loses nothing.
    start = Cursor(kept[0].keys if kept else None, backwards=True)
    end = Cursor(kept[-1].keys if kept else None)
    came_from_a_row = cursor.values is not None
    if cursor.backwards:
        before, behind = more, came_from_a_row
    else:
        before, behind = came_from_a_row, more
    return Page(
        rows=[found.row for found in kept],
        first=encode_cursor(Cursor(None), keys, query.q) if before else None,
        next=encode_cursor(end, keys, query.q) if behind else None,
        previous=encode_cursor(start, keys, query.q) if before else None,
    )


def _place(spec: ListSpec, query: ListQuery) -> tuple[tuple[SortKey, ...], Cursor]:
    keys = parse_sort(query.sort_by or spec.default_sort, spec.by_name, spec.id_field)
    if query.pq is None:
        return keys, Cursor(None, query.from_prev)
    cursor = decode_cursor(query.pq, keys, query.q)
    return keys, Cursor(cursor.values, cursor.backwards or query.from_prev)


Item = TypeVar("Item")


class ListEnvelope(BaseModel, Generic[Item]):
    """One page of a list. Cursors are values for `pq`, or null."""

    items: list[Item]
    first: str | None = Field(description="The first page; null on the first page itself.")
    next: str | None = Field(description="The page after this one; null at the end.")
    previous: str | None = Field(
        description="The page before this one, with or without `from_prev=true`; null at the start."
    )
    next_pq: str | None = Field(description="The same as `next`.")
    prev_pq: str | None = Field(description="The same as `previous`.")


def envelope(page: Page[Any], items: Sequence[Any]) -> dict[str, Any]:
    """Return the body for a page whose rows were serialized to `items`.

    Answer it as it is: passed through a response model, `fields` would be undone by defaults.
    """
    return {
        "items": list(items),
        "first": page.first,
        "next": page.next,
        "previous": page.previous,
        "next_pq": page.next,
        "prev_pq": page.previous,
    }


@dataclass(frozen=True, slots=True)
class Keyed(Generic[RowT]):
    """A row of a list with the values of its sort keys."""

    row: RowT
    keys: tuple[Any, ...]


def keyed(kind: type[RowT]) -> MadeOf[Keyed[RowT]]:
    """Return what makes rows of `build`'s statements: a `kind` of all columns but the last ones, the sort keys."""

    def made_of(columns: tuple[str, ...]) -> Callable[[Sequence[Any]], Keyed[RowT]]:
        end = columns.index(_KEY.format(0))
        make = row_maker(kind, columns[:end])
        return lambda values: Keyed(make(values[:end]), tuple(values[end:]))

    return made_of


async def read_page(
    transaction: Transaction,
    spec: ListSpec,
    query: ListQuery,
    base: sa.Select[Any] | None = None,
    *,
    row: type[RowT],
    parameters: Parameters | None = None,
    short: bool = False,
    size: Callable[[RowT], int] | None = None,
    at_once: int = ROWS_AT_ONCE,
) -> Page[RowT]:
    """Return the page of a list that a request asks for, with rows of the class `row`.

    `base` is as in `build`, `parameters` are values of its named parameters. A list that is `short` may be sorted by
    anything; for any other `bounded` decides. With `size`, in bytes, the page ends early where its rows are too large
    together, and `next` goes on behind it; then `at_once` rows are read together.

    Raises what `bounded` raises.
    """
    statement = build(spec, query, base) if short else await bounded(transaction, spec, query, base, parameters)
    if size is None:
        return page(spec, query, await transaction.made(statement, parameters, keyed(row)))
    rows: list[Keyed[RowT]] = []
    held = 0
    async for one in transaction.stream(statement, parameters, keyed(row), at_once=at_once):
        rows.append(one)
        held += size(one.row)
        if held > MAX_PAGE_BYTES:
            return page(spec, query, rows, goes_on=True)
    return page(spec, query, rows)


MAX_PAGE_BYTES = 32 * 1024 * 1024
"""A page ends behind the row with which its documents pass this. One row is always shown, whatever its size."""
